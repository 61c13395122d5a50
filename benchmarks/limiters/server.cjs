// A server that activates users, in Node, with one of three limiters.
// Arguments: port, kind of limiter, its numbers.
const [port, kind, ...numbers] = process.argv.slice(2).map((a, i) => (i === 1 ? a : Number(a)));
const active = new Set();

// activate tells the status and the body for one user, after some work.
function activate(id, workMillis) {
	for (const end = performance.now() + workMillis; performance.now() < end; );
	if (active.has(id)) return [400, { success: false, message: 'User is not deleted' }];
	active.add(id);
	return [200, { success: true, message: 'User activated successfully' }];
}

if (kind === 'under-pressure') {
	const [work] = numbers;
	const app = require('fastify')();
	app.get('/active', async () => [...active]);
	app.register(async (limited) => {
		await limited.register(require('@fastify/under-pressure'), { maxEventLoopDelay: 50, retryAfter: 10 });
		limited.post('/organization/users/:id/activate', async (req, reply) => {
			const [status, body] = activate(req.params.id, work);
			return reply.code(status).send(body);
		});
	});
	app.listen({ port, host: '127.0.0.1' });
} else {
	const app = require('express')();
	app.get('/active', (_, res) => res.json([...active]));
	let work = 0;
	if (kind === 'toobusy') {
		[work] = numbers;
		const toobusy = require('toobusy-js');
		app.use((_, res, next) => (toobusy() ? res.status(503).send('Server Too Busy') : next()));
	} else {
		const [windowMs, limit] = numbers;
		app.use(require('express-rate-limit').rateLimit({ windowMs, limit }));
	}
	app.post('/organization/users/:id/activate', (req, res) => {
		const [status, body] = activate(req.params.id, work);
		res.status(status).json(body);
	});
	app.listen(port, '127.0.0.1');
}
