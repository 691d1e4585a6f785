package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A request is signed for the region that the API's name says, else for the caller's own.
func TestRegionOfTheSignature(t *testing.T) {
	for address, want := range map[string]string{
		"https://abc123.execute-api.us-west-2.amazonaws.com":     "us-west-2",
		"https://abc123.execute-api.cn-north-1.amazonaws.com.cn": "cn-north-1",
		"https://relay.example.com":                              "eu-west-1",
	} {
		s := &session{app: scriptApp()}
		base, _ := url.Parse(address)
		sign, err := s.signer(t.Context(), base)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest(http.MethodGet, address, nil)
		if err := sign(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
		if got := r.Header.Get("Authorization"); !strings.Contains(got, "/"+want+"/execute-api/") {
			t.Errorf("%s: signed with %s", address, got)
		}
	}
}

func TestAskToken(t *testing.T) {
	for _, test := range []struct {
		name, entered, want string
		fails               bool
	}{
		{name: "a code", entered: "123456\n", want: "123456"},
		{name: "without a line end, as from a pipe", entered: "123456", want: "123456"},
		{name: "with blanks", entered: " 123456 \r\n", want: "123456"},
		{name: "an empty line", entered: "\n", fails: true},
		{name: "nothing", fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked strings.Builder
			got, err := askToken(strings.NewReader(test.entered), &asked)
			if got != test.want || (err != nil) != test.fails || asked.String() == "" {
				t.Errorf("got %q, %v, asked %q", got, err, asked.String())
			}
		})
	}
}
