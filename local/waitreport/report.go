package main

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"text/template"
)

// Report is what is printed and kept.
type Report struct {
	Rows     []Row
	Checks   []Check
	Off      int // the models miss the measured polls by so many at most
	Compared int
	Looks    int // safety looks within the hour with webhooks
}

// Check is one promise.
type Check struct {
	Text  string
	Got   string
	Holds bool
}

func newReport(samples []Sample) (*Report, error) {
	models, err := modelsOf(samples)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if r.Off, r.Compared, err = deviation(samples, models); err != nil {
		return nil, err
	}
	if r.Rows, err = rows(samples, models); err != nil {
		return nil, err
	}
	if hour := of(samples, howWebhooks, 3600); len(hour) > 0 {
		r.Looks = hour[len(hour)/2].Parks - 1
	}
	r.Checks = checks(r.Rows)
	return r, nil
}

func checks(rows []Row) []Check {
	at := func(how string, task float64) Row {
		for _, r := range rows {
			if r.How == how && r.Task == task {
				return r
			}
		}
		return Row{}
	}
	share := func(how string, task float64, part int) Check {
		r := at(how, task)
		return Check{
			Text:  fmt.Sprintf("%s, %s: at most 1/%d of the loop's cost", how, length(task), part),
			Got:   fmt.Sprintf("1/%.1f", 1/r.Share),
			Holds: r.USD > 0 && r.Share <= 1/float64(part),
		}
	}
	held := at(howHeld, 20)
	return []Check{
		share(howHeld, 20, 3),
		{
			Text: "held, 20 s: delivered within 1 s of the terminal event", Got: duration(held.Delay),
			Holds: held.USD > 0 && held.Delay <= 1,
		},
		share(howPolled, 3600, 10),
		share(howWebhooks, 3600, 50),
	}
}

// broken names the promises that do not hold.
func (r *Report) broken() error {
	var errs []error
	for _, c := range r.Checks {
		if !c.Holds {
			errs = append(errs, fmt.Errorf("does not hold: %s (%s)", c.Text, c.Got))
		}
	}
	return errors.Join(errs...)
}

//go:embed report.md.tmpl
var page string

func (r *Report) markdown() (string, error) {
	t, err := template.New("report").Funcs(template.FuncMap{
		"length": length, "duration": duration, "group": group,
		"usd":     func(v float64) string { return fmt.Sprintf("$%.2f", v*1000) },
		"percent": percent,
		"gbs":     func(v float64) string { return fmt.Sprintf("%.2f", v) },
		"first":   func(i int) bool { return i%len(hows) == 0 },
	}).Parse(page)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, r); err != nil {
		return "", err
	}
	return b.String(), nil
}

// length names a task's.
func length(s float64) string {
	switch {
	case s >= 3600:
		return fmt.Sprintf("%.0f h", s/3600)
	case s >= 60:
		return fmt.Sprintf("%.0f min", s/60)
	}
	return fmt.Sprintf("%.0f s", s)
}

func percent(share float64) string {
	if share >= 0.1 {
		return fmt.Sprintf("%.0f %%", share*100)
	}
	return fmt.Sprintf("%.1f %%", share*100)
}

func duration(s float64) string {
	if s >= 10 {
		return fmt.Sprintf("%.0f s", s)
	}
	return fmt.Sprintf("%.2g s", s)
}

// group puts a comma between thousands.
func group(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
