// Asks a Trunkline daemon on this machine, with the standard library alone.
//
//	trunkline := New("/run/trunkline/api.sock", os.Getenv("TRUNKLINE_TOKEN"))
//	var answer struct{ URL, Token string }
//	err := trunkline.Ask("tokens", map[string]any{"tenant": …, "from": "+971501234567",
//		"grants": map[string]any{"room": "call-7", "identity": "dialler"}}, &answer)
//
// Connections are kept and used again. Routes that only answer may be asked again, so that is done once
// where the connection broke or the daemon says "later". Do not ask one that changes something with this.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Refused says that the daemon said no, and why.
type Refused struct {
	Status                    int
	Code, Detail, Hint, Field string
}

func (r *Refused) Error() string { return r.Code + ": " + r.Detail }

type Trunkline struct {
	token string
	http  http.Client
}

func New(path, token string) *Trunkline {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	transport := &http.Transport{DialContext: dial}
	return &Trunkline{token, http.Client{Transport: transport, Timeout: 5 * time.Second}}
}

func (t *Trunkline) Ask(route string, body, answer any) error {
	asked, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for last := false; ; last = true {
		wait, err := t.once(route, asked, answer)
		if err == nil || last || wait < 0 {
			return err
		}
		time.Sleep(wait)
	}
}

// Asks once; below zero, asking again does not help.
func (t *Trunkline) once(route string, asked []byte, answer any) (time.Duration, error) {
	request, err := http.NewRequest("POST", "http://localhost/v1/"+route, bytes.NewReader(asked))
	if err != nil {
		return -1, err
	}
	request.Header.Set("Content-Type", "application/json")
	if t.token != "" {
		request.Header.Set("Authorization", "Bearer "+t.token)
	}
	response, err := t.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode < 300 {
		return 0, json.NewDecoder(response.Body).Decode(answer)
	}
	refused := &Refused{}
	if err := json.NewDecoder(response.Body).Decode(refused); err != nil {
		return 0, err
	}
	if response.StatusCode != 429 && response.StatusCode != 503 {
		return -1, refused
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second, refused
}
