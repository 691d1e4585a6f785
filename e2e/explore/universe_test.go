package explore

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// began is when every universe begins.
var began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var errNetwork = errors.New("connection reset by peer")

// op is one I/O that an actor is about to do.
type op struct {
	name string
	// key is what it touches; two ops whose keys differ can be done in either
	// order. Empty: nothing that another actor could see.
	key    string
	prefix bool // key stands for all keys that begin with it
	write  bool
	// clock says that the op moves time, which everybody reads.
	clock bool
	// lags says that the answer may be the one before the last change.
	lags bool
	// awaits says that the op is done only once it can be, or when its time is over.
	awaits func() bool
}

// decision is how an op goes.
type decision uint8

const (
	proceed     decision = iota
	killBefore           // the call dies before the op
	killAfter            // the call dies after it
	lostRequest          // the op is not done, and fails
	lostReply            // the op is done, and fails
	stale                // the answer is out of date
	timeOut              // what is awaited does not come
	abandon              // the search leaves this branch
	decisions
)

var decisionNames = [...]string{"", "KILLED BEFORE", "KILLED AFTER", "REQUEST LOST", "REPLY LOST", "STALE", "TIMED OUT", ""}

// fault reports whether a decision uses up the budget.
func (d decision) fault() bool { return d >= killBefore && d <= stale }

// moves reports whether the op is done under the decision.
func (d decision) moves() bool {
	return d == proceed || d == killAfter || d == lostReply || d == timeOut
}

type (
	killed    struct{}
	abandoned struct{}
)

// actor is one coroutine of real code.
type actor struct {
	name    string
	owner   string // the run that its POSTs are for
	mortal  bool   // faults may meet it
	enabled func() bool
	body    func(*actor)

	next    func() (op, bool)
	stop    func()
	yield   func(op) bool
	pending op
	started bool
	done    bool
	acted   bool // it has done an I/O
	how     decision
	heard   uint64 // a hash of everything it has been answered
	calls   int    // of functions, by this actor
	serial  int    // ids that the call has made
}

// universe is one world of actors.
type universe struct {
	s3      *storetest.S3
	now     time.Time
	tasks   []task
	runFor  time.Duration // how long a task takes; 0: for ever
	execs   map[string]*execution
	events  []endEvent
	actors  []*actor
	cur     *actor
	quiet   bool // no scheduling: what is done before and after the search
	faults  int  // left
	serial  int
	token   map[string]bool // task tokens that were resumed
	notes   []string        // violations seen on the way
	told    map[string]bool // DELETE of a run answered that it is cancelled
	inDoubt string          // the setting
	keys    *keys           // what the search knows of who touches what
}

func newUniverse(faults int) *universe {
	u := &universe{
		s3: &storetest.S3{}, now: began, execs: map[string]*execution{}, faults: faults,
		token: map[string]bool{}, told: map[string]bool{}, quiet: true,
	}
	u.s3.Now = func() time.Time { return u.now }
	u.s3.Around = func(c storetest.Call, do func() error) error {
		o := op{name: c.String(), key: "s3/" + c.Bucket + "/" + c.Key, prefix: c.Op == "ListObjectsV2"}
		switch c.Op {
		case "PutObject", "DeleteObject":
			o.write = true
			if strings.HasPrefix(c.Key, "index/") {
				o.write = true
			}
		case "CreateMultipartUpload", "AbortMultipartUpload":
			o.key = ""
		}
		return u.call(o, do, func() string {
			switch c.Op {
			case "GetObject":
				object, _ := u.s3.Object(c.Bucket, c.Key)
				return object.ETag
			case "ListObjectsV2":
				return u.listed(c.Bucket, c.Key)
			}
			return ""
		})
	}
	return u
}

var seed = maphash.MakeSeed()

func mix(h uint64, parts ...string) uint64 {
	var m maphash.Hash
	m.SetSeed(seed)
	fmt.Fprintf(&m, "%x", h)
	for _, p := range parts {
		_ = m.WriteByte(0)
		_, _ = m.WriteString(p)
	}
	return m.Sum64()
}

// listed is what a list says: keys, and the times that somebody looks at.
func (u *universe) listed(bucket, prefix string) string {
	var b strings.Builder
	for _, key := range u.s3.Keys(bucket, prefix) {
		b.WriteString(key)
		if strings.HasPrefix(key, "doubt/") || strings.HasPrefix(key, "submitting/") {
			o, _ := u.s3.Object(bucket, key)
			b.WriteString(o.Modified.Format(time.RFC3339))
		}
		b.WriteByte(',')
	}
	return b.String()
}

// call does one I/O of the current actor, as the search decides. answer says what
// the actor learns of it.
func (u *universe) call(o op, do func() error, answer func() string) error {
	if u.quiet {
		return do()
	}
	a := u.cur
	u.keys.touch(a.name, o)
	if !a.yield(o) {
		panic(abandoned{})
	}
	var err error
	switch a.how {
	case killBefore, killAfter:
		if a.how == killAfter {
			_ = do()
		}
		a.heard = mix(a.heard, o.name, "killed")
		panic(killed{})
	case lostRequest:
		err = errNetwork
	case lostReply:
		_ = do()
		err = errNetwork
	case timeOut:
		err = errTimedOut
		u.now = u.now.Add(awaitTime)
	default:
		err = do()
	}
	learnt := ""
	if err != nil {
		learnt = err.Error()
	} else if answer != nil {
		learnt = answer()
	}
	a.heard = mix(a.heard, o.name, learnt)
	return err
}

var errTimedOut = errors.New("timed out")

// sleep is the clock of every handler: a wait that the search may put anywhere.
func (u *universe) sleep(name string, d time.Duration) {
	_ = u.call(op{name: fmt.Sprintf("waits %s for %s", d, name), clock: true}, func() error { u.now = u.now.Add(d); return nil }, nil)
}

func (u *universe) add(name, owner string, mortal bool, enabled func() bool, body func()) {
	u.actors = append(u.actors, &actor{name: name, owner: owner, mortal: mortal, enabled: enabled, body: func(*actor) { body() }})
}

// begin starts the actors that may start, up to their first I/O: nothing of that
// can be seen.
func (u *universe) begin() {
	for again := true; again; {
		again = false
		for _, a := range u.actors {
			if a.started || a.enabled != nil && !a.enabled() {
				continue
			}
			a.started, again = true, true
			a.next, a.stop = iter.Pull(func(yield func(op) bool) {
				a.yield = yield
				defer func() {
					switch r := recover(); r.(type) {
					case nil, killed, abandoned:
					default:
						panic(r)
					}
				}()
				a.body(a)
			})
			u.resume(a)
		}
	}
}

func (u *universe) resume(a *actor) {
	u.cur = a
	var more bool
	a.pending, more = a.next()
	a.done = !more
	u.cur = nil
}

func (u *universe) step(c choice) {
	a := u.actors[c.actor]
	if c.how.fault() {
		u.faults--
	}
	a.how, a.acted = c.how, true
	u.resume(a)
	u.begin()
}

// close ends the coroutines that are left.
func (u *universe) close() {
	for _, a := range u.actors {
		if a.started && !a.done {
			u.cur, a.how = a, abandon
			a.stop()
		}
	}
	u.cur = nil
}

// choice is one step that the search can take.
type choice struct {
	actor int
	how   decision
}

func (c choice) bit() uint64 { return 1 << (uint(c.actor)*uint(decisions) + uint(c.how)) }

// choices lists what can happen next. An I/O on a key that no other actor touches
// is not interleaved: it alone is offered.
func (u *universe) choices() []choice {
	var all []choice
	for i, a := range u.actors {
		if !a.started || a.done {
			continue
		}
		own := u.choicesOf(i, a)
		if !a.pending.clock && a.pending.awaits == nil && !u.keys.isShared(a.pending.key) {
			return own
		}
		all = append(all, own...)
	}
	return all
}

func (u *universe) choicesOf(i int, a *actor) (own []choice) {
	if a.pending.awaits != nil {
		if a.pending.awaits() {
			own = append(own, choice{i, proceed})
		}
		return append(own, choice{i, timeOut})
	}
	own = append(own, choice{i, proceed})
	if u.faults <= 0 || a.pending.clock {
		return own
	}
	if a.pending.lags {
		own = append(own, choice{i, stale})
	}
	if !a.mortal {
		return own
	}
	// A call that dies before an I/O leaves what one leaves that dies after the
	// write before it: only its first I/O, and its writes, are places to die at.
	if !a.acted {
		own = append(own, choice{i, killBefore})
	}
	own = append(own, choice{i, lostRequest})
	if a.pending.write {
		own = append(own, choice{i, killAfter}, choice{i, lostReply})
	}
	return own
}

// independent reports whether two steps of different actors lead to the same
// state in either order.
func (u *universe) independent(a, b choice) bool {
	x, y := u.actors[a.actor].pending, u.actors[b.actor].pending
	switch {
	case a.actor == b.actor, x.clock, y.clock, x.awaits != nil, y.awaits != nil, a.how.fault() && b.how.fault():
		return false
	case x.key == "" || y.key == "" || !a.how.moves() && !b.how.moves():
		return true
	case !(x.write && a.how.moves()) && !(y.write && b.how.moves()):
		return true
	}
	return !(x.key == y.key || x.prefix && strings.HasPrefix(y.key, x.key) || y.prefix && strings.HasPrefix(x.key, y.key))
}

// keys is what a search learns of who touches what. A key that one actor alone
// touches, or that is only read, cannot carry anything between actors: until
// another one comes to it, its I/O need not be interleaved. When one does, the key
// is shared and the search begins anew with it: whatever can come to a key does so
// also in the smaller search, since nothing that leads there was left out but the
// order of I/O on other keys.
type keys struct {
	mu      sync.Mutex
	touched map[string]map[touch]bool // actor → what it touched
	shared  map[string]bool
	grew    bool
}

type touch struct {
	key           string
	prefix, write bool
}

func newKeys() *keys { return &keys{touched: map[string]map[touch]bool{}, shared: map[string]bool{}} }

func (k *keys) isShared(key string) bool {
	if k == nil {
		return key != ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.shared[key]
}

func (k *keys) hasGrown() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.grew
}

func (k *keys) touch(actor string, o op) {
	if k == nil || o.key == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	t := touch{o.key, o.prefix, o.write}
	if k.touched[actor][t] {
		return
	}
	if k.touched[actor] == nil {
		k.touched[actor] = map[touch]bool{}
	}
	k.touched[actor][t] = true
	for other, touches := range k.touched {
		for x := range touches {
			overlap := x.key == t.key || x.prefix && strings.HasPrefix(t.key, x.key) || t.prefix && strings.HasPrefix(x.key, t.key)
			if other != actor && overlap && (x.write || t.write) && !(k.shared[x.key] && k.shared[t.key]) {
				k.shared[x.key], k.shared[t.key], k.grew = true, true, true
			}
		}
	}
}

// hash is the state.
func (u *universe) hash() uint64 {
	var m maphash.Hash
	m.SetSeed(seed)
	for _, bucket := range []string{stateBucket, outputBucket, inboxBucket} {
		for _, key := range u.s3.Keys(bucket, "") {
			o, _ := u.s3.Object(bucket, key)
			_, _ = m.WriteString(key)
			_, _ = m.WriteString(o.ETag)
			if strings.HasPrefix(key, "doubt/") || strings.HasPrefix(key, "submitting/") {
				_, _ = m.WriteString(o.Modified.Format(time.RFC3339))
			}
		}
	}
	fmt.Fprintf(&m, "%v", u.tasks)
	ids := make([]string, 0, len(u.execs))
	for id := range u.execs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		fmt.Fprintf(&m, "%s%+v", id, *u.execs[id])
	}
	fmt.Fprintf(&m, "%d %d %d %v", u.now.UnixMilli(), u.faults, len(u.events), u.token)
	for _, a := range u.actors {
		fmt.Fprintf(&m, "%v%v%s%x;", a.started, a.done, a.pending.name, a.heard)
	}
	return m.Sum64()
}
