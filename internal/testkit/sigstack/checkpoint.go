package sigstack

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// Checkpoint is a log's statement about its tree, in the C2SP tlog-checkpoint
// form: three lines, then signed-note signatures.
type Checkpoint struct {
	Origin string // first line; Rekor v1: "<host> - <tree id>", Rekor v2: "<host>"
	Size   int64
	Root   []byte
	Other  []string // further lines
}

func (c Checkpoint) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root))
	for _, line := range c.Other {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Checkpoint signs any checkpoint with the log's key and name; it need not be
// about the log's real tree.
func (l *Log) Checkpoint(c Checkpoint) (string, error) { return l.sign(c.text()) }

// sign makes a signed note of any text that ends with a newline.
func (l *Log) sign(text string) (string, error) { return l.signAs(text, l.noteKeyID()) }

func (l *Log) signAs(text string, id [32]byte) (string, error) {
	sig, err := l.key.SignMessage([]byte(text))
	if err != nil {
		return "", fmt.Errorf("signing checkpoint of %s: %w", l.Host, err)
	}
	line := base64.StdEncoding.EncodeToString(append(id[:4:4], sig...))
	return fmt.Sprintf("%s\n— %s %s\n", text, l.Host, line), nil
}

// noteKeyID is the long form of the key hash in a signed note. Rekor hashes the
// SPKI for ECDSA keys; Ed25519 keys follow C2SP signed-note: name, newline, type,
// key. Rekor v2 takes the whole of it as its log id.
func (l *Log) noteKeyID() [32]byte {
	if pub, ok := l.key.Public().(ed25519.PublicKey); ok {
		const algEd25519 = 1
		return sha256.Sum256(append([]byte(l.Host+"\n"), append([]byte{algEd25519}, pub...)...))
	}
	return sha256.Sum256(l.key.SPKI())
}
