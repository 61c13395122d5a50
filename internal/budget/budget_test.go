package budget_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/flashbacknetwork/flashback-go/internal/budget"
)

// drain takes until there is none left, and tells how many there were.
func drain(b *budget.Budget) (taken int) {
	for taken < 1000 && b.Take() {
		taken++
	}
	return taken
}

func TestABudgetHoldsAsManyAsItWasMadeFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 7, 100} {
			assert.Equal(t, n, drain(budget.New(n)))
		}
		assert.Equal(t, 1000, drain(budget.New(math.MaxInt)))
	})
}

func TestANilBudgetHasNoBottom(t *testing.T) {
	t.Parallel()
	var none *budget.Budget
	assert.Equal(t, 1000, drain(none))
	none.Give(1)
}

func TestWhatIsGivenCanBeTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(5)
		assert.Equal(t, 5, drain(b))
		b.Give(3)
		assert.Equal(t, 3, drain(b))
		b.Give(0.5)
		assert.Equal(t, 0, drain(b), "a half is none")
		b.Give(0.5)
		assert.Equal(t, 1, drain(b), "two halves are one")
		b.Give(100)
		assert.Equal(t, 5, drain(b), "there is never more than at first")
	})
}

func TestItRefillsByOneASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(5)
		assert.Equal(t, 5, drain(b))
		<-time.After(999 * time.Millisecond)
		assert.Equal(t, 0, drain(b))
		<-time.After(time.Millisecond)
		assert.Equal(t, 1, drain(b))
		<-time.After(3 * time.Second)
		assert.Equal(t, 3, drain(b))
		<-time.After(time.Hour)
		assert.Equal(t, 5, drain(b), "there is never more than at first")

		b = budget.New(0)
		<-time.After(time.Hour)
		assert.Equal(t, 0, drain(b))
	})
}

// A client may be made outside of a bubble of fake time, which begins in 2000.
func TestAClockThatGoesBackRefillsNothing(t *testing.T) {
	t.Parallel()
	b := budget.New(1)
	synctest.Test(t, func(t *testing.T) {
		assert.Equal(t, 1, drain(b))
		assert.Equal(t, 0, drain(b))
		<-time.After(time.Second)
		assert.Equal(t, 1, drain(b), "from then on it is that clock's")
	})
}

func TestManyTakeNoMoreThanThereIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(100)
		var taken atomic.Int64
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() { taken.Add(int64(drain(b))) })
		}
		group.Wait()
		assert.EqualValues(t, 100, taken.Load())
	})
}
