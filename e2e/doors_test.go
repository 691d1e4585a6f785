package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// inboxRun waits for the run that an upload started: its id begins with the
// upload's name.
func (s *stack) inboxRun(t *testing.T, name string) string {
	t.Helper()
	var runID string
	eventually(t, "the upload "+name+" starts a run", func() (bool, any) {
		var page struct {
			Runs []runView `json:"runs"`
		}
		s.call(t, "GET", "/runs?limit=100", "").into(t, &page)
		for _, r := range page.Runs {
			if strings.HasPrefix(r.RunID, name+"-") {
				runID = r.RunID
				return true, nil
			}
		}
		return false, len(page.Runs)
	})
	return runID
}

// TestJobFile: a request put into the inbox starts that run.
func TestJobFile(t *testing.T) {
	s := open(t)
	t.Parallel()
	word, name := uniqueWord(t), runName(t)
	s.put(t, s.inbox, "jobs/"+name+".json", []byte(mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word}})), nil)
	s.delivered(t, s.end(t, s.inboxRun(t, name)))
	if paid := s.paid(t, word); len(paid) != 1 {
		t.Errorf("paid for %+v", paid)
	}
}

// TestRejectedJob: what cannot become a run is told beside it, with every reason.
func TestRejectedJob(t *testing.T) {
	s := open(t)
	t.Parallel()
	name := runName(t)
	s.put(t, s.inbox, "jobs/"+name+".json", []byte(`{"workflw":"text-to-image","max_seconds":-1}`), nil)
	var told struct {
		Key     string
		Reasons []struct{ Parameter, Message string }
	}
	eventually(t, "the rejection is written", func() (bool, any) {
		raw := s.object(t, s.inbox, "rejected/jobs/"+name+".json")
		return raw != nil && json.Unmarshal(raw, &told) == nil, string(raw)
	})
	if len(told.Reasons) != 3 { // the typo, what is missing because of it, the seconds
		t.Errorf("%+v", told)
	}
}

// TestDroppedPhoto: a file put into the inbox comes back upscaled, with the other
// parameters from its metadata.
func TestDroppedPhoto(t *testing.T) {
	s := open(t)
	t.Parallel()
	photo := s.photo(t)
	name := runName(t)
	key := "files/upscale/image/" + name + " + ä.png"
	s.put(t, s.inbox, key, photo, map[string]string{"param-scale": "4"})
	v := s.end(t, s.inboxRun(t, name))
	m := s.delivered(t, v)
	if m.Outputs[0].Bytes <= int64(len(photo)) {
		t.Errorf("the upscaled picture has %d bytes, the photo %d", m.Outputs[0].Bytes, len(photo))
	}
}

// photo is a picture that a run made.
func (s *stack) photo(t *testing.T) []byte {
	t.Helper()
	v := s.end(t, s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image@2", "parameters": map[string]any{"prompt": uniqueWord(t), "width": 128, "height": 128}})))
	return s.object(t, s.outputs, s.delivered(t, v).Outputs[0].Key)
}

// TestMissingInput: an input that is not there is told before anything is paid.
func TestMissingInput(t *testing.T) {
	s := open(t)
	t.Parallel()
	name := runName(t)
	s.execute(t, name, fmt.Sprintf(`{"workflow":"upscale","parameters":{"image":"s3://%s/not/there.png"}}`, s.inbox))
	s.checkFailure(t, s.end(t, name), "InvalidRequest")
}

// TestNoLoop: what lies outside jobs/ and files/ starts no run, rejections above all, nor
// does a folder itself.
func TestNoLoop(t *testing.T) {
	s := open(t)
	t.Parallel()
	for _, key := range []string{"rejected/jobs/x.json", "jobs/", "elsewhere/x.json"} {
		s.put(t, s.inbox, key, []byte(`{"workflow":"text-to-image","parameters":{"prompt":"loop"}}`), nil)
	}
	s.put(t, s.inbox, "jobs/"+runName(t)+".json", []byte(`{"workflow":"text-to-image","parameters":{"prompt":"the last one"}}`), nil)
	eventually(t, "the job after them ran", func() (bool, any) { return len(s.paid(t, "the last one")) > 0, nil })
	if paid := s.paid(t, "loop"); len(paid) != 0 {
		t.Errorf("paid for %+v", paid)
	}
}

// TestManyJobs: a hundred job files at once are a hundred runs, each with one
// task and one manifest; and their events, delivered again, are nothing new.
func TestManyJobs(t *testing.T) {
	s := open(t)
	const jobs = 100
	word, name := uniqueWord(t), runName(t)
	var all sync.WaitGroup
	for i := range jobs {
		all.Go(func() {
			body := mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": fmt.Sprintf("%s #%d#", word, i), "seconds": 1}})
			s.put(t, s.inbox, fmt.Sprintf("jobs/%s-%03d.json", name, i), []byte(body), nil)
		})
	}
	all.Wait()
	var ids []string
	eventually(t, "every job is a run that succeeded", func() (bool, any) {
		ids = s.runsNamed(t, name, "succeeded")
		return len(ids) == jobs, len(ids)
	})
	for _, id := range ids {
		if s.object(t, s.outputs, "runs/"+id+"/manifest.json") == nil {
			t.Errorf("%s has no manifest", id)
		}
	}
	if paid := s.paid(t, word); len(paid) != jobs {
		t.Errorf("paid for %d tasks, want %d", len(paid), jobs)
	}
}

// runsNamed are the runs whose ids begin so.
func (s *stack) runsNamed(t *testing.T, name, status string) (ids []string) {
	t.Helper()
	for cursor := ""; ; {
		var page struct {
			Runs       []runView `json:"runs"`
			NextCursor string    `json:"next_cursor"`
		}
		s.call(t, "GET", "/runs?limit=100&status="+status+"&cursor="+cursor, "").into(t, &page)
		for _, r := range page.Runs {
			if strings.HasPrefix(r.RunID, name) {
				ids = append(ids, r.RunID)
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return ids
		}
	}
}

// TestEventTwice: an event that comes again, by whichever road, starts nothing;
// the same bytes uploaded again are another run.
func TestEventTwice(t *testing.T) {
	s := open(t)
	t.Parallel()
	word, name := uniqueWord(t), runName(t)
	key := "jobs/" + name + ".json"
	s.put(t, s.inbox, key, []byte(mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word}})), nil)
	s.inboxRun(t, name)
	object := map[string]any{"key": key, "sequencer": "0066F3A1C2D4E5F6"}
	bucket := map[string]any{"name": s.inbox}
	events := []string{
		mustJSON(t, map[string]any{"detail-type": "Object Created", "source": "aws.s3", "detail": map[string]any{"bucket": bucket, "object": object}}),
		mustJSON(t, map[string]any{"Records": []any{map[string]any{"eventSource": "aws:s3", "s3": map[string]any{"bucket": bucket, "object": object}}}}),
	}
	for i := range 10 {
		out, err := s.lambda.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(s.resources["OnUploadFunction"]), Payload: []byte(events[i%2])})
		if err != nil || out.FunctionError != nil {
			t.Fatalf("on-upload: %v %s", err, out.Payload)
		}
	}
	for _, id := range s.runsNamed(t, name, "") {
		s.delivered(t, s.end(t, id))
	}
	eventually(t, "two runs, one for each sequencer", func() (bool, any) {
		ids := s.runsNamed(t, name, "")
		return len(ids) == 2, ids
	})
	if paid := s.paid(t, word); len(paid) != 2 {
		t.Errorf("paid for %d tasks, want 2", len(paid))
	}
}
