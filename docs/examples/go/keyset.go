package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"time"
)

const (
	keep  = 5 * time.Minute
	pause = 10 * time.Second
)

// KeySet is the service's public keys, fetched when they are needed and kept for a while.
type KeySet struct {
	URL    string
	Client *http.Client

	mutex   sync.Mutex
	keys    map[string]ed25519.PublicKey
	fetched time.Time
}

// Get returns the key of that name, or nil. An unknown one may be new, so the set is fetched again, at most once in a
// while, because anybody can make up a kid. An old set is good until a new one has come.
func (s *KeySet) Get(kid string) ed25519.PublicKey {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	_, known := s.keys[kid]
	if age := time.Since(s.fetched); age > keep || (!known && age > pause) {
		s.fetched = time.Now()
		if keys, err := s.fetch(); err != nil {
			log.Printf("the key set: %v", err)
		} else {
			s.keys = keys
		}
	}
	return s.keys[kid]
}

func (s *KeySet) fetch() (map[string]ed25519.PublicKey, error) {
	answer, err := s.Client.Get(s.URL)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", answer.Status)
	}
	var set struct {
		Keys []struct{ Kty, Crv, Kid, X string }
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&set); err != nil {
		return nil, err
	}
	keys := map[string]ed25519.PublicKey{}
	for _, key := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(key.X)
		if key.Kty == "OKP" && key.Crv == "Ed25519" && err == nil && len(x) == ed25519.PublicKeySize {
			keys[key.Kid] = x
		}
	}
	return keys, nil
}
