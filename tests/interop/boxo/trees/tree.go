package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A random tree on disk.
type tree struct {
	root string
	// Paths directly below the root.
	top []string
	// What the importer from npm does not know.
	symlinks, odd bool
	// Whether a link leads nowhere, or back to a folder above.
	dangling bool
	files    int
	names    []string
}

var letters = []string{
	"a", "b", "Z", "0", "-", "_", " ", ".", "ü", "日", "🦀", "%", "%2F", "+", "&", "=", "\"", "'", "\\", "\n", "\t", "\x7f", "*", "[", "?", "#",
	"!", ":", ";", "e\u0301", "\u200b",
}

func (t *tree) name(r *rand.Rand) string {
	for {
		var b strings.Builder
		switch r.IntN(12) {
		case 0:
			b.WriteByte('.')
		case 1:
			b.WriteString(strings.Repeat("long", 10+r.IntN(50)))
		case 2:
			if r.IntN(4) == 0 {
				b.Write([]byte{0xff, byte(0x80 + r.IntN(0x40))})
			}
		}
		if r.IntN(3) == 0 {
			for range 1 + r.IntN(6) {
				b.WriteString(letters[r.IntN(len(letters))])
			}
		} else {
			for range 1 + r.IntN(12) {
				b.WriteByte("abcdefghijklmnopqrstuvwxyz0123456789.-_"[r.IntN(39)])
			}
		}
		if name := b.String(); name != "." && name != ".." && len(name) <= 255 {
			return name
		}
	}
}

func content(r *rand.Rand, size int) []byte {
	out := make([]byte, size)
	switch r.IntN(4) {
	case 0: // zeros
	case 1:
		period := 1 + r.IntN(5000)
		for i := range out {
			if i < period {
				out[i] = byte(r.Uint32())
			} else {
				out[i] = out[i-period]
			}
		}
	default:
		for i := 0; i < size; i += 4 {
			v := r.Uint32()
			for k := 0; k < 4 && i+k < size; k++ {
				out[i+k] = byte(v >> (8 * k))
			}
		}
	}
	return out
}

func size(r *rand.Rand) int {
	switch r.IntN(12) {
	case 0:
		return 0
	case 1:
		return 262_144 + r.IntN(3) - 1
	case 2:
		return r.IntN(3_000_000)
	case 3, 4:
		return r.IntN(100_000)
	}
	return r.IntN(200)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Makes a tree below root, of every kind of thing that `add` may meet.
func makeTree(r *rand.Rand, root string, plain bool) *tree {
	t := &tree{root: root}
	must(os.Mkdir(root, 0o755))
	var dirs []string
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		dirs = append(dirs, dir)
		count := r.IntN(8)
		if r.IntN(5) == 0 {
			count = r.IntN(80)
		}
		for range count {
			name := t.name(r)
			if plain && !utf8.ValidString(name) {
				continue
			}
			path := dir + "/" + name
			if _, err := os.Lstat(path); err == nil {
				continue
			}
			t.names = append(t.names, name)
			// It takes strings, in which a backslash stands before a slash that is part of a name.
			t.odd = t.odd || !utf8.ValidString(name) || strings.Contains(name, "\\")
			switch kind := r.IntN(20); {
			case kind < 3 && depth < 5:
				must(os.Mkdir(path, 0o755))
				fill(path, depth+1)
			case kind == 3 && depth < 20:
				must(os.Mkdir(path, 0o755))
				dirs = append(dirs, path)
			case kind == 4 && !plain:
				t.symlinks = true
				target := []string{"nowhere", "..", "../../x", "/etc/hostname", "\xff\xfe", strings.Repeat("t", 200), t.names[r.IntN(len(t.names))]}[r.IntN(7)]
				must(os.Symlink(target, path))
				t.dangling = true
			default:
				data := size(r)
				if t.files++; t.files > 40 {
					data = r.IntN(50)
				}
				must(os.WriteFile(path, content(r, data), 0o644))
			}
			if depth == 0 {
				t.top = append(t.top, path)
			}
		}
	}
	fill(root, 0)
	if r.IntN(12) == 0 {
		t.crowd(r, root)
	}
	// Deepest first, so that a folder's time stays what it is set to; a mode never takes our own right to read.
	must(filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			t.age(r, path, 0o400|uint32(r.IntN(0o10000)))
		}
		return err
	}))
	for i := len(dirs) - 1; i >= 0; i-- {
		t.age(r, dirs[i], 0o700|uint32(r.IntN(0o10000)))
	}
	return t
}

// A folder around the size at which folders are sharded.
func (t *tree) crowd(r *rand.Rand, root string) {
	dir := root + "/crowd"
	if os.Mkdir(dir, 0o755) != nil {
		return
	}
	t.top, t.names = append(t.top, dir), append(t.names, "crowd")
	length := 40 + r.IntN(150)
	count := 262_144/(length+34) + r.IntN(41) - 20
	for range count {
		name := make([]byte, length)
		for i := range name {
			name[i] = "abcdefghijklmnopqrstuvwxyz"[r.IntN(26)]
		}
		must(os.WriteFile(dir+"/"+string(name), nil, 0o644))
	}
}

func (t *tree) age(r *rand.Rand, path string, mode uint32) {
	must(unix.Chmod(path, mode))
	at := time.Unix(r.Int64N(4_000_000_000)-2_000_000_000, []int64{0, 1, 999_999_999, r.Int64N(1_000_000_000)}[r.IntN(4)])
	must(os.Chtimes(path, at, at))
}

// Rules, some of which match names that are there.
func (t *tree) rules(r *rand.Rand) []string {
	var out []string
	for range 1 + r.IntN(3) {
		rule := []string{"*.log", "a*", "*b*", "!ab*", "crowd", "[a-m]*", "**/x", "long*"}[r.IntN(8)]
		if len(t.names) > 0 && r.IntN(2) == 0 {
			name := t.names[r.IntN(len(t.names))]
			if strings.IndexFunc(name, func(c rune) bool { return c < 0x21 || c > 0x7e || strings.ContainsRune("\\[]*?!#%+(){}^$|'\"&=;:", c) }) < 0 {
				rule = name
			}
		}
		out = append(out, rule)
	}
	return out
}
