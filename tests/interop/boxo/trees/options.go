package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

const (
	profileV0 = "unixfs-v0-2015"
	profileV1 = "unixfs-v1-2025"
)

// What may be said to `add`; zero values and nil say nothing.
type options struct {
	profile           string
	cidVersion        *int
	hash              string
	raw               *bool
	chunker           string
	trickle           bool
	maxFileLinks      int
	maxDirectoryLinks int
	maxFanout         int
	inline            bool
	inlineLimit       int
	preserveMode      bool
	preserveMtime     bool
	mode              uint32
	mtime             int64
	mtimeNsecs        uint32
	hidden            bool
	ignore            []string
	emptyDirs         bool
	wrap              bool
	dereference       bool
}

func (o *options) attributes() bool {
	return o.preserveMode || o.preserveMtime || o.mode != 0 || o.mtime != 0
}

func (o *options) hashName() string {
	if o.hash == "" {
		return "sha2-256"
	}
	return o.hash
}

func (o *options) version() int {
	switch {
	case o.cidVersion != nil:
		return *o.cidVersion
	case o.profile == profileV1, o.hashName() != "sha2-256":
		return 1
	}
	return 0
}

func (o *options) rawLeaves() bool {
	switch {
	case o.attributes():
		return false
	case o.raw != nil:
		return *o.raw
	case o.profile != "":
		return o.profile == profileV1
	}
	return o.version() == 1
}

func (o *options) chunkerName() string {
	switch {
	case o.chunker != "":
		return o.chunker
	case o.profile == profileV1:
		return "size-1048576"
	}
	return "size-262144"
}

func (o *options) fileLinks() int {
	switch {
	case o.maxFileLinks != 0:
		return o.maxFileLinks
	case o.profile == profileV1:
		return 1024
	}
	return 174
}

func (o *options) fanout() int {
	if o.maxFanout != 0 {
		return o.maxFanout
	}
	return 256
}

// The options as Kubo's and our command line read them alike. The profile is not among them: Kubo has it in its configuration.
func (o *options) flags() []string {
	out := []string{"--recursive", "--quieter"}
	add := func(format string, values ...any) { out = append(out, fmt.Sprintf(format, values...)) }
	if o.cidVersion != nil {
		add("--cid-version=%d", *o.cidVersion)
	}
	if o.hash != "" {
		add("--hash=%s", o.hash)
	}
	if o.raw != nil {
		add("--raw-leaves=%t", *o.raw)
	}
	if o.chunker != "" {
		add("--chunker=%s", o.chunker)
	}
	if o.trickle {
		add("--trickle")
	}
	if o.maxFileLinks != 0 {
		add("--max-file-links=%d", o.maxFileLinks)
	}
	if o.maxDirectoryLinks != 0 {
		add("--max-directory-links=%d", o.maxDirectoryLinks)
	}
	if o.maxFanout != 0 {
		add("--max-hamt-fanout=%d", o.maxFanout)
	}
	if o.inline {
		add("--inline")
		add("--inline-limit=%d", o.inlineLimit)
	}
	if o.preserveMode {
		add("--preserve-mode")
	}
	if o.preserveMtime {
		add("--preserve-mtime")
	}
	if o.mode != 0 {
		add("--mode=0%o", o.mode)
	}
	if o.mtime != 0 {
		add("--mtime=%d", o.mtime)
	}
	if o.mtimeNsecs != 0 {
		add("--mtime-nsecs=%d", o.mtimeNsecs)
	}
	if o.hidden {
		add("--hidden")
	}
	for _, rule := range o.ignore {
		add("--ignore=%s", rule)
	}
	if !o.emptyDirs {
		add("--empty-dirs=false")
	}
	if o.wrap {
		add("--wrap-with-directory")
	}
	if o.dereference {
		add("--dereference-symlinks")
	}
	return out
}

// Kubo has the profile in its configuration, where it counts as said in so many words: raw leaves and a mode, or version 0 and
// another hash function, are refused then. Here the option's meaning wins.
func (o *options) kuboRefuses() bool {
	return o.profile == profileV1 && o.attributes() || o.profile == profileV0 && o.hash != "" && o.cidVersion == nil
}

func (o *options) onlyWhatNpmKnows() {
	o.hash, o.inline, o.ignore, o.hidden, o.emptyDirs, o.wrap, o.maxDirectoryLinks = "", false, nil, true, true, false, 0
	o.mode, o.mtime, o.mtimeNsecs, o.preserveMode, o.preserveMtime = 0, 0, 0, false, false
	if !strings.HasPrefix(o.chunker, "size-") {
		o.chunker = ""
	}
}

var hashes = []string{
	"sha1", "sha2-512", "sha3-224", "sha3-256", "sha3-384", "sha3-512", "keccak-256", "keccak-512", "shake-256",
	"dbl-sha2-256", "blake3", "blake2b-160", "blake2b-256", "blake2b-512", "blake2s-256",
}

func randomOptions(r *rand.Rand, t *tree) *options {
	one := func(n int) bool { return r.IntN(n) == 0 }
	o := &options{emptyDirs: !one(5), hidden: !one(3), wrap: one(4)}
	if one(2) {
		o.profile = []string{profileV0, profileV1}[r.IntN(2)]
	}
	if one(3) {
		version := r.IntN(2)
		o.cidVersion = &version
	}
	if one(3) && (o.cidVersion == nil || *o.cidVersion == 1) {
		o.hash = hashes[r.IntN(len(hashes))]
	}
	if one(2) {
		size := 1 + r.IntN(20_000)
		min := 16 + r.IntN(500)
		avg := min + 1 + r.IntN(1000)
		o.chunker = []string{
			fmt.Sprintf("size-%d", 500+size), fmt.Sprintf("size-%d", 500+size*20), fmt.Sprintf("size-%d", 64*size),
			fmt.Sprintf("rabin-%d-%d-%d", min, avg, avg+1+r.IntN(4000)), fmt.Sprintf("rabin-%d", 200+size), "rabin", "buzhash",
			"size-2096896",
		}[r.IntN(8)]
	}
	o.trickle = one(4)
	if one(3) {
		o.maxFileLinks = 2 + r.IntN(20)
	}
	if one(3) {
		o.maxDirectoryLinks = 1 + r.IntN(20)
	}
	if one(3) {
		o.maxFanout = 8 << r.IntN(8)
	}
	if one(4) {
		o.inline, o.inlineLimit = true, []int{0, 1, 4, 32, 33, 64, 127, 128}[r.IntN(8)]
	}
	if one(3) {
		o.preserveMode, o.preserveMtime = one(2), one(2)
	}
	if one(6) {
		o.mode = 1 + uint32(r.IntN(0o7777))
	}
	if one(6) {
		o.mtime = []int64{1, -1, 1_700_000_000, -5_000_000_000, 1 << 40}[r.IntN(5)]
		if one(2) {
			o.mtimeNsecs = 1 + uint32(r.IntN(999_999_999))
		}
	}
	if one(3) && !o.attributes() {
		raw := one(2)
		o.raw = &raw
	}
	if one(4) {
		o.ignore = t.rules(r)
	}
	if one(5) && !t.dangling {
		o.dereference = true
	}
	return o
}
