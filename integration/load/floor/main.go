// Command floor is what a measurement of Pawl's server is compared with: Go's
// net/http that answers every request with the same 1 KB of JSON. It prints its
// address and serves until it is killed.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func main() {
	body := []byte(`{"SecretString":"` + strings.Repeat("x", 1024-19) + `"}`)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		fmt.Println(l.Addr())
		err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body)
		}))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
