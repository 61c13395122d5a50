//go:build !go1.27

package attempt

// resendsReset says that net/http sends a request again whose HTTP/2 stream the server reset with PROTOCOL_ERROR, which
// it may have done after it applied the request. Nothing tells this from a stream that was refused.
const resendsReset = true
