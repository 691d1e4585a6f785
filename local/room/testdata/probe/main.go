// Command probe looks around in the room that a function is given, and tells.
package main

import (
	"encoding/json"
	"mime"
	"os"
)

func main() {
	_, mimeErr := os.Stat("/etc/mime.types")
	_, shellErr := os.Stat("/bin/sh")
	entries, _ := os.ReadDir("/etc")
	var files []string
	for _, entry := range entries {
		files = append(files, entry.Name())
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"mime_types": mimeErr == nil, "shell": shellErr == nil, "etc": files, "user": os.Getuid(), "mov": mime.TypeByExtension(".mov"),
		"root_writable": os.WriteFile("/x", nil, 0o600) == nil, "task_writable": os.WriteFile("/var/task/x", nil, 0o600) == nil,
		"tmp_writable": os.WriteFile("/tmp/x", nil, 0o600) == nil,
	})
	if len(os.Getenv("TAKE")) == 0 {
		return
	}
	var all [][]byte
	for range 200 { // 200 MiB
		piece := make([]byte, 1<<20)
		for i := range piece {
			piece[i] = byte(i)
		}
		all = append(all, piece)
	}
	_ = os.WriteFile("/tmp/taken", all[0], 0o600)
	os.Stdout.WriteString("took it all\n")
}
