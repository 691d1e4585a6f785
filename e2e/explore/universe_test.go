package explore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"runtime"
	"slices"
	"strconv"
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
	prefix bool   // key stands for all keys that begin with it
	except string // but for those
	kind   kind
	// clock says that the op is a wait, and takes how long it is.
	clock bool
	takes time.Duration
	// lags says that the answer may be the one before the last change.
	lags bool
	// awaits says that the op is done only once it can be, or when its time is over.
	awaits func() bool
	also   string // what else decides that
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

// reaches reports whether the op comes to what it touches.
func (d decision) reaches() bool { return d != killBefore && d != lostRequest }

type (
	killed    struct{}
	abandoned struct{}
)

// actor is one coroutine of real code.
type actor struct {
	name    string
	index   int
	owner   string // the run that its POSTs are for
	mortal  bool   // faults may meet it
	enabled func() bool
	body    func(*actor)

	next     func() (op, bool)
	stop     func()
	yield    func(op) bool
	pending  op
	started  bool
	done     bool
	warm     []string // it goes on alone until it is about to do these
	slow     bool     // it may take as long as it likes: time passes while it is at work
	acted    bool     // it has done an I/O
	how      decision
	heard    uint64   // a hash of everything it has been answered
	answers  []answer // that it was given in this call, the last to each question
	told     uint64   // a hash of them
	inSubmit bool
	receipt  string    // the task that this call was told it has started
	place    uint64    // where in the code it is
	stage    string    // the write that it did last
	spots    []string  // all stages that it has been at
	holds    []version // the objects it was answered, or wrote, in this call
	calls    int       // of functions, by this actor
	serial   int       // ids that it has made
	attempts int
	until    time.Time // of a wait: when it is over
}

// version is an object as an actor knows it. Its ETag is of use in a conditional
// write only, where all that counts is whether the object is still that one.
type version struct {
	place, etag string
}

// universe is one world of actors.
type universe struct {
	s3       *storetest.S3
	now      time.Time
	tasks    []task
	runFor   time.Duration // how long a task takes; 0: for ever
	execs    map[string]*execution
	events   []endEvent
	actors   []*actor
	cur      *actor
	quiet    bool // no scheduling: what is done before and after the search
	faults   int  // left
	serial   int
	token    map[string]bool // task tokens that were resumed
	notes    []string        // violations seen on the way
	receipts []string        // those of calls that did not die of it
	told     map[string]bool // DELETE of a run answered that it is cancelled
	inDoubt  string          // the setting
	keys     *keys           // what the search knows of who touches what
	objects  map[string]seen // what lies in the buckets, as far as it can make a difference
	sum      uint64          // of all objects
	buffer   []byte
}

// seen is an object as the state has it.
type seen struct {
	etag string
	hash uint64
}

func newUniverse(faults int) *universe {
	u := &universe{
		s3: &storetest.S3{}, now: began, execs: map[string]*execution{}, faults: faults,
		token: map[string]bool{}, told: map[string]bool{}, quiet: true,
	}
	u.s3.Now = func() time.Time { return u.now }
	u.s3.Around = func(c storetest.Call, do func() error) error {
		if u.quiet {
			return do()
		}
		o := op{name: c.String(), key: "s3/" + c.Bucket + "/" + c.Key}
		own := u.cur.owner
		switch c.Op {
		case "ListObjectsV2":
			o.prefix = true
			// A run's own doubt and markers are passed over by who asks for others'.
			if c.Key == "doubt/"+workflowID+"/" || c.Key == "submitting/"+workflowID+"/" {
				o.except = o.key + own
			}
		case "GetObject":
			if strings.HasPrefix(c.Key, "submitting/"+workflowID+"/"+own+"/") {
				o.key = ""
			}
		case "PutObject":
			o.kind = writes
		case "DeleteObject":
			o.kind = removes
		case "CreateMultipartUpload", "AbortMultipartUpload":
			o.key = ""
		}
		act := do
		if o.kind != reads {
			act = func() error {
				err := do()
				u.take(c.Bucket, c.Key)
				if err == nil && c.Op == "PutObject" {
					u.hold(c.Bucket, c.Key)
				}
				return err
			}
		}
		return u.call(o, act, func() string {
			switch c.Op {
			case "GetObject":
				u.hold(c.Bucket, c.Key)
				return strconv.FormatUint(u.objects[c.Bucket+"/"+c.Key].hash, 36)
			case "ListObjectsV2":
				return u.listed(c.Bucket, c.Key, strings.TrimPrefix(o.except, "s3/"+c.Bucket+"/"))
			}
			return ""
		})
	}
	return u
}

// hold notes which version of an object the current actor knows.
func (u *universe) hold(bucket, key string) {
	// Ownerships are read anew before each write, others are not written on condition.
	if a := u.cur; a != nil && bucket == stateBucket && strings.HasPrefix(key, "runs/") {
		place := bucket + "/" + key
		v := version{place, u.objects[place].etag}
		if i := slices.IndexFunc(a.holds, func(o version) bool { return o.place == place }); i >= 0 {
			a.holds[i] = v
		} else {
			a.holds = append(a.holds, v)
		}
	}
}

// take takes one object into the state.
func (u *universe) take(bucket, key string) {
	place := bucket + "/" + key
	old := u.objects[place]
	o, there := u.s3.Object(bucket, key)
	now := seen{}
	if there {
		now = seen{o.ETag, meaning(key, o)}
		u.objects[place] = now
	} else {
		delete(u.objects, place)
	}
	u.sum ^= old.hash ^ now.hash
}

// takeAll takes all objects into the state, when the search begins.
func (u *universe) takeAll() {
	u.objects, u.sum = map[string]seen{}, 0
	for _, bucket := range []string{stateBucket, outputBucket, inboxBucket} {
		for _, key := range u.s3.Keys(bucket, "") {
			u.take(bucket, key)
		}
	}
}

var seed = maphash.MakeSeed()

func mix(h uint64, parts ...string) uint64 {
	var m maphash.Hash
	m.SetSeed(seed)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], h)
	_, _ = m.Write(b[:])
	for _, p := range parts {
		_ = m.WriteByte(0)
		_, _ = m.WriteString(p)
	}
	return m.Sum64()
}

// meanings remembers what documents mean, by key and ETag.
var meanings sync.Map

// meaning is a hash of what an object can make a difference by: not its write id,
// nor moments of which no code asks more than whether they have come. Where the
// age of an object is looked at, that belongs to it.
func meaning(key string, o storetest.Object) uint64 {
	at := ""
	if strings.HasPrefix(key, "doubt/") || strings.HasPrefix(key, "submitting/") {
		at = o.Modified.Format(time.RFC3339)
	}
	name := key + o.ETag + at
	if h, ok := meanings.Load(name); ok {
		return h.(uint64)
	}
	body := o.Body
	var document map[string]any
	if strings.HasSuffix(key, ".json") && json.Unmarshal(o.Body, &document) == nil {
		forgetMoments(document)
		body, _ = json.Marshal(document)
	}
	h := mix(0, key, string(body), at)
	meanings.Store(name, h)
	return h
}

// moments are the fields that code asks of whether they are there, and no more
// within the hours that a scenario takes.
var moments = []string{
	"stop_requested_at", "ended_at", "accepted_at", "copy_started_at", "candidates_at", "completed_at", "asked_at", "decided_at", "updated_at",
}

func forgetMoments(document map[string]any) {
	delete(document, "write_id")
	for _, name := range moments {
		if document[name] != nil {
			document[name] = true
		}
	}
	for _, v := range document {
		if inner, ok := v.(map[string]any); ok {
			forgetMoments(inner)
		}
	}
}

// listed is what a list says: keys, and the times that somebody looks at.
func (u *universe) listed(bucket, prefix, except string) string {
	var b strings.Builder
	for _, key := range u.s3.Keys(bucket, prefix) {
		if except != "" && strings.HasPrefix(key, except) {
			continue
		}
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
	if o.takes > 0 {
		a.until = u.now.Add(o.takes)
	}
	a.place = here()
	u.keys.touch(a, o)
	if o.kind == writes && !o.clock {
		defer func() { a.stage = o.name }()
	}
	if !a.yield(o) {
		panic(abandoned{})
	}
	var err error
	switch a.how {
	case killBefore, killAfter:
		if a.how == killAfter {
			_ = do()
		}
		a.receipt = ""
		a.heard = mix(a.heard, o.name, "killed")
		panic(killed{})
	case lostRequest:
		err = errNetwork
	case lostReply:
		_ = do()
		err = errNetwork
	case timeOut:
		err = errTimedOut
		if u.now.Before(a.until) {
			u.now = a.until
		}
	default:
		err = do()
	}
	learnt := ""
	if err != nil {
		learnt = err.Error()
	} else if answer != nil {
		learnt = answer()
	}
	a.hear(o.name, learnt)
	if a.inSubmit && (o.name == "POST run" || strings.HasPrefix(o.name, "PutObject state/tasks/")) {
		a.settles()
	}
	return err
}

// answer is what an actor was told last about one thing.
type answer struct {
	about string
	hash  uint64
}

// hear adds an answer to what an actor knows; one that a later answer to the same
// question replaces is forgotten.
func (a *actor) hear(about, learnt string) {
	h := mix(0, about, learnt)
	a.told ^= h
	for i := range a.answers {
		if a.answers[i].about == about {
			a.told ^= a.answers[i].hash
			a.answers[i].hash = h
			return
		}
	}
	a.answers = append(a.answers, answer{about, h})
}

// settled are the questions of Submit whose answers nothing is decided by any more
// once it has posted, or owns a task.
var settled = []string{
	"GET tasks", "GET workflow", "clock", "waits ", "CreateMultipartUpload ", "AbortMultipartUpload ", "GetObject state/ended/",
	"ListObjectsV2 state/ended/", "ListObjectsV2 state/submitting/" + workflowID + "/ ", "GetObject state/submitting/", "ListObjectsV2 state/doubt/", "PutObject state/doubt/",
	"PutObject state/index/",
}

// settles forgets those answers.
func (a *actor) settles() {
	a.answers = slices.DeleteFunc(a.answers, func(w answer) bool {
		dead := slices.ContainsFunc(settled, func(prefix string) bool { return strings.HasPrefix(w.about+" ", prefix) })
		if dead {
			a.told ^= w.hash
		}
		return dead
	})
}

// here is a hash of the stack: where in the code the actor is.
func here() uint64 {
	var frames [64]uintptr
	h := uint64(14695981039346656037)
	for _, pc := range frames[:runtime.Callers(3, frames[:])] {
		h = (h ^ uint64(pc)) * 1099511628211
	}
	return h
}

var errTimedOut = errors.New("timed out")

// brief is what a pause may last that takes no time: nothing the code decides by
// time is finer than that, and whatever it was to await may come before its end.
const brief = 5 * time.Second

// timeKey stands for the clock: waits write it.
const timeKey = "time"

// sleep is the wait of every handler, and of what calls it.
func (u *universe) sleep(name string, d time.Duration) {
	if u.quiet {
		u.now = u.now.Add(d)
		return
	}
	if d < brief {
		return
	}
	a := u.cur
	_ = u.call(op{name: fmt.Sprintf("waits %s %s", d, name), key: timeKey, kind: writes, clock: true, takes: d}, func() error {
		if u.now.Before(a.until) {
			u.now = a.until
		}
		return nil
	}, nil)
}

func (u *universe) add(name, owner string, mortal bool, enabled func() bool, body func()) {
	u.actors = append(u.actors, &actor{name: name, index: len(u.actors), owner: owner, mortal: mortal, enabled: enabled, body: func(*actor) { body() }})
}

// slow adds a call that lives on although nobody awaits it: it takes its time.
func (u *universe) slow(name, owner string, body func()) {
	u.add(name, owner, true, nil, body)
	u.actors[len(u.actors)-1].slow = true
}

// warm lets the actor added last go on alone before the search, until it is about
// to do what is named, one after the other.
func (u *universe) warm(until ...string) { u.actors[len(u.actors)-1].warm = until }

// begin starts the actors that may start, up to their first I/O: nothing of that
// can be seen.
func (u *universe) begin() {
	if u.objects == nil {
		u.takeAll()
	}
	for again := true; again; {
		again = false
		for _, a := range u.actors {
			if a.started || a.enabled != nil && !a.enabled() {
				continue
			}
			a.started, again = true, true
			a.spots = append(a.spots, "")
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
			for len(a.warm) > 0 && !a.done {
				if strings.HasPrefix(a.pending.name, a.warm[0]) {
					a.warm = a.warm[1:]
					continue
				}
				a.how, a.acted = proceed, true
				u.resume(a)
			}
		}
	}
}

func (u *universe) resume(a *actor) {
	u.cur = a
	var more bool
	a.pending, more = a.next()
	if a.done = !more; a.done {
		u.keep(a)
	}
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

// choices lists what can happen next. An I/O that no other actor can take notice of
// is not interleaved: it alone is offered. Time moves to the end of the wait that
// ends first, and only when nobody is at work but those who may be slow.
func (u *universe) choices() []choice {
	var all []choice
	var first *actor
	waiting, atWork := 0, false
	for i, a := range u.actors {
		switch {
		case !a.started || a.done:
		case a.pending.awaits != nil && a.pending.awaits():
			atWork = true
		case a.pending.clock || a.pending.awaits != nil:
			if first == nil || a.until.Before(first.until) {
				first, waiting = a, i
			}
		case a.acted && !a.slow:
			atWork = true
		}
	}
	for i, a := range u.actors {
		if !a.started || a.done || a.pending.clock {
			continue
		}
		own := u.choicesOf(i, a)
		if a.pending.awaits == nil && !u.met(i, a.pending) {
			return own
		}
		all = append(all, own...)
	}
	switch {
	case first == nil || atWork:
	case first.pending.clock:
		all = append(all, choice{waiting, proceed})
	default:
		all = append(all, choice{waiting, timeOut})
	}
	return all
}

// met reports whether anything that the other actors may still do meets an I/O.
func (u *universe) met(i int, o op) bool {
	// Who is slow, or has not begun, may do so before a wait of others or after it.
	anytime := u.actors[i].slow || !u.actors[i].acted
	for j, other := range u.actors {
		if j != i && !other.done && (u.keys.met(other, o) || anytime && u.keys.met(other, op{key: timeKey})) {
			return true
		}
	}
	return false
}

func (u *universe) choicesOf(i int, a *actor) (own []choice) {
	if a.pending.awaits != nil {
		if a.pending.awaits() {
			own = append(own, choice{i, proceed})
		}
		return own
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
	// write before it, and so does one that ends because S3 could not be read: only
	// its first I/O, its writes and its questions to others are places to fail at.
	if !a.acted {
		own = append(own, choice{i, killBefore})
	}
	if a.pending.kind != reads {
		return append(own, choice{i, lostRequest}, choice{i, killAfter}, choice{i, lostReply})
	}
	if !strings.HasPrefix(a.pending.key, "s3/") && a.pending.key != "" {
		own = append(own, choice{i, lostRequest})
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
	case !a.how.reaches() || !b.how.reaches():
		return true
	}
	return x.key == "" || y.key == "" || !x.touch().meets(y.touch())
}

// keys is what a search learns of who touches what, and from where in the code on.
// An I/O that nothing can meet which the other actors may still do, or that all
// only read, need not be interleaved. When an actor does come to such a key after
// all, the search begins anew with that known: whatever can come to a key does so
// also in the smaller search, since nothing that leads there was left out but the
// order of I/O that does not meet.
type keys struct {
	mu    sync.RWMutex
	ids   map[touch]int
	all   []touch
	ahead map[spot]*ahead
	grew  bool
}

// spot is how far an actor has come: the write that it did last, if any.
type spot struct {
	actor int
	stage string
}

// ahead is what an actor was seen to touch from a spot on, and what it was asked
// about and not found to meet.
type ahead struct {
	touches []uint64 // a set of touches' ids
	clear   map[touch]bool
	meets   map[touch]bool
}

// touch is what an I/O does to a key.
type touch struct {
	key    string
	prefix bool   // all keys that begin with it
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

func (o op) touch() touch { return touch{o.key, o.prefix, o.except, o.kind} }

// meets reports whether the order of two touches can make a difference.
func (t touch) meets(o touch) bool {
	switch {
	case t.kind == reads && o.kind == reads, t.kind == removes && o.kind == removes:
		return false
	case t.except != "" && strings.HasPrefix(o.key, t.except), o.except != "" && strings.HasPrefix(t.key, o.except):
		return false
	}
	return t.key == o.key || t.prefix && strings.HasPrefix(o.key, t.key) || o.prefix && strings.HasPrefix(t.key, o.key)
}

func newKeys() *keys { return &keys{ids: map[touch]int{}, ahead: map[spot]*ahead{}} }

// met reports whether an actor may still do what meets an I/O.
func (k *keys) met(a *actor, o op) bool {
	if o.key == "" {
		return false
	}
	if k == nil {
		return true
	}
	at, t := spot{a.index, a.stage}, o.touch()
	k.mu.RLock()
	f := k.ahead[at]
	if f != nil && (f.clear[t] || f.meets[t]) {
		met := f.meets[t]
		k.mu.RUnlock()
		return met
	}
	k.mu.RUnlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	f = k.of(at)
	for id, other := range k.all {
		if f.touches[id/64]&(1<<(id%64)) != 0 && other.meets(t) {
			f.meets[t] = true
			return true
		}
	}
	f.clear[t] = true
	return false
}

const mostTouches = 512 // distinct ones of a scenario

func (k *keys) of(at spot) *ahead {
	f := k.ahead[at]
	if f == nil {
		f = &ahead{touches: make([]uint64, mostTouches/64), clear: map[touch]bool{}, meets: map[touch]bool{}}
		k.ahead[at] = f
	}
	return f
}

func (k *keys) hasGrown() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.grew
}

// touch learns what an actor does now, for every spot that it has come by.
func (k *keys) touch(a *actor, o op) {
	if k == nil {
		return
	}
	if !slices.Contains(a.spots, a.stage) {
		a.spots = append(a.spots, a.stage)
	}
	if o.key == "" {
		return
	}
	k.learn(a, o.touch())
	if o.awaits != nil {
		k.learn(a, touch{key: o.also})
	}
}

func (k *keys) learn(a *actor, t touch) {
	known := true
	k.mu.RLock()
	id, there := k.ids[t]
	if there {
		for _, stage := range a.spots {
			f := k.ahead[spot{a.index, stage}]
			if f == nil || f.touches[id/64]&(1<<(id%64)) == 0 {
				known = false
				break
			}
		}
	}
	k.mu.RUnlock()
	if there && known {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if id, there = k.ids[t]; !there {
		id = len(k.all)
		k.ids[t], k.all = id, append(k.all, t)
	}
	for _, stage := range a.spots {
		f := k.of(spot{a.index, stage})
		if f.touches[id/64]&(1<<(id%64)) != 0 {
			continue
		}
		f.touches[id/64] |= 1 << (id % 64)
		for other := range f.clear {
			if other.meets(t) {
				delete(f.clear, other)
				f.meets[other] = true
				k.grew = true
			}
		}
	}
}

// hash is the state: what the buckets, Cyberun and Step Functions hold, the clock,
// the faults left, and of each actor that is not done what it was answered.
func (u *universe) hash() uint64 {
	b := binary.LittleEndian.AppendUint64(u.buffer[:0], u.sum)
	for _, t := range u.tasks {
		b = append(append(b, t.id...), t.status...)
		b = binary.LittleEndian.AppendUint64(b, uint64(t.created.Unix()))
	}
	for _, id := range u.ids() {
		x := u.execs[id]
		b = append(append(append(append(b, id...), x.at...), x.error.Name...), byte(x.redrives))
		b = append(b, x.state...)
		if x.before != nil {
			b = append(append(b, x.before.State...), byte(x.before.Redrives))
		}
		if u.told[id] {
			b = append(b, 1)
		}
	}
	for _, id := range u.receipts {
		b = append(b, id...)
	}
	for _, e := range u.events {
		b = append(append(append(b, e.id...), e.error...), byte(e.redrives))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(u.now.UnixMilli()))
	b = append(b, byte(u.faults), byte(len(u.token)), byte(len(u.notes)))
	var tokens uint64
	for token := range u.token {
		tokens ^= maphash.String(seed, token)
	}
	b = binary.LittleEndian.AppendUint64(b, tokens)
	for _, a := range u.actors {
		b = append(b, 0)
		switch {
		case a.done:
			b = append(b, 1)
			continue
		case !a.started:
			continue
		}
		if a.acted {
			b = append(b, 2)
		}
		b = append(b, a.pending.name...)
		if a.pending.clock {
			b = binary.LittleEndian.AppendUint64(b, uint64(a.until.UnixMilli()))
		}
		b = binary.LittleEndian.AppendUint64(b, a.heard^a.told)
		b = binary.LittleEndian.AppendUint64(b, a.place)
		for _, v := range a.holds {
			if u.objects[v.place].etag == v.etag {
				b = append(b, 3)
			} else {
				b = append(b, 4)
			}
		}
	}
	u.buffer = b
	return maphash.Bytes(seed, b)
}
