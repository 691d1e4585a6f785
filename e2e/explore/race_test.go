//go:build race

package explore

// raced says that the race detector is at work, under which a search takes ten
// times as long; nothing here runs side by side but the searches themselves.
const raced = true
