// Checks what placet-tlog makes with Go's own note and tlog packages, which share no code with it.
//
//	verify checkpoint <log vkey> <cosigner vkey> <note file>
//	verify proof <log vkey> <cosigner vkey> <proof file> <entry file>
//	verify vectors <tlog.json>
//
// Exit status 0 and "ok" mean valid; anything else is a refusal with its reason.
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// cosigner verifies c2sp.org/tlog-cosignature lines of type 0x04.
type cosigner struct {
	name string
	id   uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.id }

func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	header := fmt.Sprintf("cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(sig))
	return ed25519.Verify(c.key, append([]byte(header), msg...), sig[8:])
}

func newCosigner(vkey string) (*cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("malformed cosigner key")
	}
	id, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 0x04 {
		return nil, errors.New("not a key of type 0x04")
	}
	return &cosigner{parts[0], uint32(id), key[1:]}, nil
}

// openCheckpoint wants both signatures, the log's and the cosigner's.
func openCheckpoint(logKey, cosignerKey string, msg []byte) (tlog.Tree, error) {
	log, err := note.NewVerifier(logKey)
	if err != nil {
		return tlog.Tree{}, err
	}
	witness, err := newCosigner(cosignerKey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(msg, note.VerifierList(log, witness))
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(opened.Sigs) != 2 {
		return tlog.Tree{}, fmt.Errorf("%d of 2 signatures", len(opened.Sigs))
	}
	return parseBody(log.Name(), opened.Text)
}

func parseBody(origin, text string) (tlog.Tree, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != origin {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func checkProof(logKey, cosignerKey string, file, entry []byte) error {
	head, checkpoint, found := strings.Cut(string(file), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || lines[0] != "c2sp.org/tlog-proof@v1" || len(lines) < 2 {
		return errors.New("not a proof file")
	}
	lines = lines[1:]
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	tree, err := openCheckpoint(logKey, cosignerKey, []byte(checkpoint))
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

// vector is one case of the inclusion or the consistency section.
type vector struct {
	Name  string
	Input struct {
		Leaf, Index, Size, Root string
		OldSize                 string `json:"old_size"`
		OldRoot                 string `json:"old_root"`
		NewSize                 string `json:"new_size"`
		NewRoot                 string `json:"new_root"`
		Hash                    string
		EntryHex                string `json:"entry_hex"`
		Vkey, Body, Line        string
		Proof                   json.RawMessage
	}
	Outcome struct{ Valid bool }
}

func checkInclusion(v *vector) error {
	proof, err := hashes(v.Input.Proof)
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(v.Input.Size, 10, 64)
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(v.Input.Index, 10, 64)
	if err != nil {
		return err
	}
	root, leaf := mustHash(v.Input.Root), mustHash(v.Input.Leaf)
	return tlog.CheckRecord(proof, size, root, index, leaf)
}

func checkConsistency(v *vector) error {
	proof, err := hashes(v.Input.Proof)
	if err != nil {
		return err
	}
	old, err := strconv.ParseInt(v.Input.OldSize, 10, 64)
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(v.Input.NewSize, 10, 64)
	if err != nil {
		return err
	}
	oldRoot, newRoot := mustHash(v.Input.OldRoot), mustHash(v.Input.NewRoot)
	if old == 0 {
		// Go leaves the empty tree undefined; C2SP tlog-witness takes it with an empty proof.
		if len(proof) != 0 || oldRoot != emptyRoot {
			return errors.New("the empty tree has one root and needs no proof")
		}
		return nil
	}
	return tlog.CheckTree(proof, size, newRoot, old, oldRoot)
}

func checkLeaf(v *vector) error {
	entry, err := hex.DecodeString(v.Input.EntryHex)
	if err != nil {
		return err
	}
	if tlog.RecordHash(entry) != mustHash(v.Input.Hash) {
		return errors.New("another leaf hash")
	}
	return nil
}

func checkCosignature(v *vector) error {
	witness, err := newCosigner(v.Input.Vkey)
	if err != nil {
		return err
	}
	msg := v.Input.Body + "\n" + v.Input.Line + "\n"
	opened, err := note.Open([]byte(msg), note.VerifierList(witness))
	if err != nil {
		return err
	}
	sig, err := base64.StdEncoding.DecodeString(opened.Sigs[0].Base64)
	if err != nil {
		return err
	}
	if t := binary.BigEndian.Uint64(sig[4:]); t == 0 || t > 1<<63-1 {
		return errors.New("time out of range")
	}
	return nil
}

var emptyRoot = func() (h tlog.Hash) {
	raw, _ := hex.DecodeString("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	copy(h[:], raw)
	return h
}()

func hashes(raw json.RawMessage) ([]tlog.Hash, error) {
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	var proof []tlog.Hash
	for _, text := range list {
		hash, err := tlog.ParseHash(text)
		if err != nil {
			return nil, err
		}
		proof = append(proof, hash)
	}
	return proof, nil
}

func mustHash(text string) tlog.Hash {
	hash, err := tlog.ParseHash(text)
	if err != nil {
		panic(err)
	}
	return hash
}

func checkVectors(file []byte) error {
	var all struct{ Sections map[string][]vector }
	if err := json.Unmarshal(file, &all); err != nil {
		return err
	}
	checks := map[string]func(*vector) error{
		"leaf": checkLeaf, "inclusion": checkInclusion,
		"consistency": checkConsistency, "cosignature": checkCosignature,
	}
	for section, check := range checks {
		if len(all.Sections[section]) == 0 {
			return fmt.Errorf("no vectors in %s", section)
		}
		for i := range all.Sections[section] {
			v := &all.Sections[section][i]
			if err := check(v); (err == nil) != v.Outcome.Valid {
				return fmt.Errorf("%s: %s: Go says %v", section, v.Name, err)
			}
		}
	}
	return nil
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "vectors" {
		file, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		return checkVectors(file)
	}
	if len(args) < 4 {
		return errors.New("usage: verify checkpoint|proof|vectors …")
	}
	file, err := os.ReadFile(args[3])
	if err != nil {
		return err
	}
	if args[0] == "checkpoint" {
		_, err := openCheckpoint(args[1], args[2], file)
		return err
	}
	entry, err := os.ReadFile(args[4])
	if err != nil {
		return err
	}
	return checkProof(args[1], args[2], file, entry)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Println("ok")
}
