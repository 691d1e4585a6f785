package explore

import (
	"fmt"
	"strings"
)

// describe says a step in words.
func (now *state) describe(c choice) string {
	m := now.actors[c.actor]
	return strings.TrimSpace(fmt.Sprintf("%-10s %s %s", m.actor.name, m.pending.name, fateNames[c.how]))
}

// line writes a schedule so that it can be replayed: actor and fate of each
// step, runs of one actor in short.
func line(path []choice) string {
	var b strings.Builder
	for i := 0; i < len(path); {
		j := i
		for j < len(path) && path[j] == path[i] {
			j++
		}
		fmt.Fprintf(&b, "%d.%d*%d,", path[i].actor, path[i].how, j-i)
		i = j
	}
	return strings.TrimSuffix(b.String(), ",")
}

func parseLine(text string) (path []choice, err error) {
	for part := range strings.SplitSeq(text, ",") {
		var actor, how, times int
		if _, err := fmt.Sscanf(part, "%d.%d*%d", &actor, &how, &times); err != nil {
			return nil, fmt.Errorf("%q is no step of a schedule: %w", part, err)
		}
		for range times {
			path = append(path, choice{actor, fate(how)})
		}
	}
	return path, nil
}

// replay follows one schedule to its end and judges it. It returns the schedule in
// words, what is wrong, and the end; err says that the code does not go that way.
func replay(sc scenario, faults int, path []choice) (words, notes []string, end *state, err error) {
	s := prepare(sc, faults)
	defer s.memory.end()
	now := s.origin()
	for i, c := range path {
		if c.actor >= len(now.actors) || now.actors[c.actor] == nil || now.actors[c.actor].done {
			return words, nil, now, fmt.Errorf("step %d is one of actor %d, which has none to take: the code does other I/O than the schedule was made with", i+1, c.actor)
		}
		words = append(words, now.describe(c))
		now = s.step(now, c)
	}
	for choices := s.choices(now); len(choices) > 0; choices = s.choices(now) { // the line may have been cut
		words = append(words, now.describe(choices[0])+" (not in the line)")
		now = s.step(now, choices[0])
	}
	return words, sc.judge(now.world), now, nil
}
