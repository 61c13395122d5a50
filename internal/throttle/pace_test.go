package throttle //nolint:testpackage // What a division by zero is depends on the processor, and only some show it to callers.

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWithoutARateThereIsNoInterval(t *testing.T) {
	t.Parallel()
	assert.Zero(t, new(pace).interval())
}
