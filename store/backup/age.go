package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
)

// stanza is the type of Pawl's own part of a file's header. Its one argument is the
// master key's id, its body the file's key, encrypted by what is derived from it.
const stanza = "pawl.dev/master-key-v1"

// masterRecipient wraps the key of a file by the master key.
type masterRecipient struct {
	ctx    context.Context
	keys   *seal.Keyring
	labels []string
	id     string // of the master key, once it has
}

// Wrap implements age.Recipient.
func (r *masterRecipient) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	id, wrapped, err := r.keys.WrapFileKey(r.ctx, fileKey)
	if err != nil {
		return nil, err
	}
	r.id = id
	return []*age.Stanza{{Type: stanza, Args: []string{id}, Body: wrapped}}, nil
}

// WrapWithLabels implements age.RecipientWithLabels.
func (r *masterRecipient) WrapWithLabels(fileKey []byte) ([]*age.Stanza, []string, error) {
	s, err := r.Wrap(fileKey)
	return s, r.labels, err
}

// labelsOf are the labels that go with recipients: what is encrypted by a
// symmetric key of 256 bits is as good against quantum computers as theirs can be.
func labelsOf(recipients []age.Recipient) []string {
	if slices.ContainsFunc(recipients, func(r age.Recipient) bool { _, ok := r.(*age.HybridRecipient); return ok }) {
		return []string{"postquantum"}
	}
	return nil
}

// ParseRecipient reads a public key of age's. The error is Invalid and does not
// show the text, which may be a private one by mistake.
func ParseRecipient(text string) (age.Recipient, error) {
	if strings.ContainsAny(text, "\n#") {
		text = ""
	}
	r, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(r) != 1 {
		return nil, secrets.Errorf(secrets.Invalid, "this is no public key of age's").
			WithHint("write it as age-keygen shows it: age1…")
	}
	return r[0], nil
}

// masterIdentity unwraps the key of a file by the master key.
type masterIdentity struct {
	keys *seal.Keyring
	made []string // the master keys that the file was made with
}

// Unwrap implements age.Identity.
func (i *masterIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type != stanza {
			continue
		}
		if len(s.Args) != 1 {
			return nil, errors.New("the header is damaged")
		}
		i.made = append(i.made, s.Args[0])
		fileKey, known, err := i.keys.UnwrapFileKey(s.Args[0], s.Body)
		if known {
			return fileKey, err
		}
	}
	return nil, fmt.Errorf("not by the master key: %w", age.ErrIncorrectIdentity)
}

// locked explains why a file does not open.
func (i *masterIdentity) locked(identities int) error {
	ours := i.keys.String()
	switch {
	case len(i.made) == 0:
		return secrets.Errorf(secrets.Invalid, "this is an age file, but no backup of Pawl's").
			WithHint("name the file that pawl backup wrote")
	case identities > 0:
		return secrets.Errorf(secrets.Invalid, "the backup is for none of the identities, and it was made with master key %s; %s",
			strings.Join(i.made, ", "), ours).WithHint("name the right identity file, or put that master key back")
	}
	return secrets.Errorf(secrets.Invalid, "the backup was made with master key %s; %s", strings.Join(i.made, ", "), ours).
		WithHint("put the key file back that was in use when the backup was made")
}
