// A page that logs in by scanning, and a backend that knows who asks. The standard library alone.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func main() {
	service := env("SERVICE", "http://127.0.0.1:8080")
	verifier := &Verifier{
		Keys: &KeySet{
			URL:    service + "/.well-known/jwks.json",
			Client: &http.Client{Timeout: 3 * time.Second},
		},
		Issuer:   env("ISSUER", "scanlogin"),
		Audience: env("AUDIENCE", "shop"),
	}
	file, err := os.ReadFile(env("PAGE", "../page.html"))
	if err != nil {
		log.Fatal(err)
	}
	page := strings.ReplaceAll(string(file), "{{service}}", service)

	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, page)
	})
	http.HandleFunc("/me", func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		claims, err := verifier.Verify(token)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			json.NewEncoder(w).Encode(map[string]string{"error": "not logged in"})
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"user": claims.Subject})
	})

	address := net.JoinHostPort("127.0.0.1", env("PORT", "8000"))
	server := &http.Server{Addr: address, ReadHeaderTimeout: 5 * time.Second}
	log.Printf("http://%s/", address)
	log.Fatal(server.ListenAndServe())
}
