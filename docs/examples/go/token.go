package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

const leeway = 30 * time.Second

var errToken = errors.New("not a valid web token")

// Claims of a web token, as far as this shop needs them.
type Claims struct {
	Subject  string `json:"sub"`
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Platform string `json:"platform"`
	Expires  int64  `json:"exp"`
}

// Verifier checks web tokens by the service's public keys. It sees no log-out: ask /verify where that matters.
type Verifier struct {
	Keys     *KeySet
	Issuer   string
	Audience string
}

// Verify returns the claims of a good token.
func (v *Verifier) Verify(token string) (*Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errToken
	}
	var header struct{ Alg, Typ, Kid string }
	var claims Claims
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !decode(parts[0], &header) || !decode(parts[1], &claims) {
		return nil, errToken
	}
	// Which algorithm is ours to say, never the token's; and typ tells a web token from any other of the same key.
	if header.Alg != "EdDSA" || header.Typ != "scanlogin+jwt" {
		return nil, errToken
	}
	key := v.Keys.Get(header.Kid)
	if key == nil || !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return nil, errToken
	}
	good := claims.Issuer == v.Issuer && claims.Audience == v.Audience && claims.Platform == "web" &&
		claims.Subject != "" && time.Now().Before(time.Unix(claims.Expires, 0).Add(leeway))
	if !good {
		return nil, errToken
	}
	return &claims, nil
}

func decode(part string, into any) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(text, into) == nil
}
