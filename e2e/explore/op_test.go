package explore

import (
	"errors"
	"time"
)

// op is one I/O that an actor is about to do.
type op struct {
	name string
	touch
	// do does it to a world, and says what is answered. It knows nothing of the call
	// that asks: the same op is done to many worlds. stale asks for an answer that is
	// out of date.
	do func(w *world, stale bool) answer
	// clock says that the op is a wait. takes is how long it, or what is awaited,
	// may last, and until when that is over.
	clock bool
	takes time.Duration
	until time.Time
	// lags says that the answer may be the one before the last change.
	lags func(*world) bool
	// awaits says that the op is done only once it can be, or when its time is over;
	// also is the key that decides that beside its own.
	awaits func(*world) bool
	also   string
}

// answer is what an op comes to.
type answer struct {
	value any
	err   error
	// exact tells the answer from every other one to the same question; meaning does
	// so as far as the code that asks can act on it.
	exact, meaning string
	// holds is the version of an object that whoever asked knows from then on.
	holds version
}

// version is an object as an actor knows it. Its ETag is of use in a conditional
// write only, where all that counts is whether the object is still that one.
type version struct {
	place, etag string
}

// fate is how an op goes.
type fate uint8

const (
	proceed     fate = iota
	killBefore       // the call dies before the op
	killAfter        // the call dies after it
	lostRequest      // the op is not done, and fails
	lostReply        // the op is done, and fails
	stale            // the answer is out of date
	timeOut          // what is awaited does not come
	fates
)

var fateNames = [...]string{"", "KILLED BEFORE", "KILLED AFTER", "REQUEST LOST", "REPLY LOST", "STALE", "TIMED OUT"}

// fault reports whether an op with this fate uses up the budget.
func (d fate) fault() bool { return d >= killBefore && d <= stale }

// reaches reports whether the op comes to what it touches.
func (d fate) reaches() bool { return d != killBefore && d != lostRequest }

var (
	errNetwork  = errors.New("connection reset by peer")
	errTimedOut = errors.New("timed out")
)

// reply is what an actor gets for its op: an answer, or death.
type reply struct {
	answer
	killed bool
	view   view
}

// perform does an op to a world in the way decided.
func (o op) perform(w *world, how fate) reply {
	switch how {
	case killBefore:
		return reply{killed: true}
	case killAfter:
		o.do(w, false)
		return reply{killed: true}
	case lostRequest:
		return reply{answer: failed(errNetwork)}
	case lostReply:
		o.do(w, false)
		return reply{answer: failed(errNetwork)}
	case timeOut:
		w.passTo(o.until)
		return reply{answer: failed(errTimedOut)}
	}
	return reply{answer: o.do(w, how == stale)}
}

func failed(err error) answer {
	text := err.Error()
	return answer{err: err, exact: text, meaning: text}
}

// said is an answer whose text is all that can be told of it.
func said(value any, text string) answer { return answer{value: value, exact: text, meaning: text} }

// touch is what an I/O does to a key.
type touch struct {
	// key is what it touches; two ops whose keys differ can be done in either
	// order. Empty: nothing that another actor could see.
	key    string
	prefix bool   // key stands for all keys that begin with it
	except string // but those
	kind   kind
}

// kind is what an I/O does to what it touches.
type kind uint8

const (
	reads kind = iota
	writes
	removes // twice is as good as once
)

// timeKey stands for the clock: waits write it.
const timeKey = "time"
