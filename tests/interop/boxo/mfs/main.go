// Runs operations on boxo's MFS, one a line from standard input, and prints the root's CID after each: an oracle for the
// files tree. Operations are put together from boxo's mfs package in the order in which Kubo's `files` verbs call it.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	gopath "path"
	"strconv"
	"strings"
	"time"

	bserv "github.com/ipfs/boxo/blockservice"
	blockstore "github.com/ipfs/boxo/blockstore"
	chunker "github.com/ipfs/boxo/chunker"
	offline "github.com/ipfs/boxo/exchange/offline"
	dag "github.com/ipfs/boxo/ipld/merkledag"
	ft "github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/boxo/mfs"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
)

var (
	ctx  = context.Background()
	serv ipld.DAGService
	root *mfs.Root
)

func prefix(version, hash string) (cid.Builder, error) {
	v, err := strconv.Atoi(version)
	if err != nil {
		return nil, err
	}
	p, err := dag.PrefixForCidVersion(v)
	if err != nil {
		return nil, err
	}
	if hash != "-" {
		p.MhType = mh.Names[hash]
		p.MhLength = -1
	}
	return &p, nil
}

// Bytes that both sides can make: xorshift64, its low byte each.
func noise(seed uint64, size int) []byte {
	state := seed*0x9e3779b97f4a7c15 | 1
	out := make([]byte, size)
	for i := range out {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		out[i] = byte(state)
	}
	return out
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

func flush(paths ...string) error {
	for _, p := range paths {
		node, err := mfs.Lookup(root, p)
		if err != nil {
			return err
		}
		if err := node.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func parents(path string, builder cid.Builder) error {
	dir := gopath.Dir(path)
	if dir == "/" {
		return nil
	}
	return mfs.Mkdir(root, dir, mfs.MkdirOpts{Mkparents: true}, mfs.WithCidBuilder(builder))
}

func parent(path string) (*mfs.Directory, error) {
	node, err := mfs.Lookup(root, gopath.Dir(path))
	if err != nil {
		return nil, err
	}
	dir, ok := node.(*mfs.Directory)
	if !ok {
		return nil, errors.New("not a directory")
	}
	return dir, nil
}

func write(path string, offset int, truncate bool, raw string, builder cid.Builder, data []byte) error {
	if err := parents(path, builder); err != nil {
		return err
	}
	node, err := mfs.Lookup(root, path)
	if errors.Is(err, os.ErrNotExist) {
		dir, err := parent(path)
		if err != nil {
			return err
		}
		empty := dag.NodeWithData(ft.FilePBData(nil, 0))
		if err := empty.SetCidBuilder(builder); err != nil {
			return err
		}
		if err := dir.AddChild(gopath.Base(path), empty); err != nil {
			return err
		}
		if node, err = dir.Child(gopath.Base(path)); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	file, ok := node.(*mfs.File)
	if !ok {
		return errors.New("not a file")
	}
	if raw != "-" {
		file.RawLeaves = raw == "true"
	}
	fd, err := file.Open(ctx, mfs.Flags{Write: true, Sync: true})
	if err != nil {
		return err
	}
	if truncate {
		if err := fd.Truncate(0); err != nil {
			return err
		}
	}
	if _, err := fd.Seek(int64(offset), io.SeekStart); err != nil {
		return err
	}
	// What io.Copy does with a reader of a file.
	for len(data) > 0 {
		n := min(len(data), 32*1024)
		if _, err := fd.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	if err := fd.Close(); err != nil {
		return err
	}
	return flush(gopath.Dir(path))
}

// What `add` makes of bytes.
func add(version string, raw bool, links, chunk int, data []byte) (ipld.Node, error) {
	builder, err := prefix(version, "-")
	if err != nil {
		return nil, err
	}
	params := helpers.DagBuilderParams{Maxlinks: links, RawLeaves: raw, CidBuilder: builder, Dagserv: serv}
	db, err := params.New(chunker.NewSizeSplitter(strings.NewReader(string(data)), int64(chunk)))
	if err != nil {
		return nil, err
	}
	return balanced.Layout(db)
}

func put(node ipld.Node, path string) error {
	if err := mfs.PutNode(root, path, node); err != nil {
		return err
	}
	return flush(gopath.Dir(path))
}

func run(f []string) error {
	switch f[0] {
	case "mkdir": // PATH VERSION HASH
		builder, err := prefix(f[2], f[3])
		if err != nil {
			return err
		}
		return mfs.Mkdir(root, f[1], mfs.MkdirOpts{Mkparents: true, Flush: true}, mfs.WithCidBuilder(builder))
	case "write": // PATH OFFSET TRUNCATE RAW VERSION HASH SEED SIZE
		builder, err := prefix(f[5], f[6])
		if err != nil {
			return err
		}
		return write(f[1], number(f[2]), f[3] == "true", f[4], builder, noise(uint64(number(f[7])), number(f[8])))
	case "add": // PATH VERSION RAW LINKS CHUNK SEED SIZE
		node, err := add(f[2], f[3] == "true", number(f[4]), number(f[5]), noise(uint64(number(f[6])), number(f[7])))
		if err != nil {
			return err
		}
		return put(node, f[1])
	case "fill": // DIRECTORY FROM TO: empty files, quickly
		dir, err := mfs.Lookup(root, f[1])
		if err != nil {
			return err
		}
		node := dag.NodeWithData(ft.FilePBData(nil, 0))
		for i := number(f[2]); i < number(f[3]); i++ {
			if err := dir.(*mfs.Directory).AddChild(fmt.Sprintf("entry-%d", i), node); err != nil {
				return err
			}
		}
		return flush(f[1], "/")
	case "drain": // DIRECTORY FROM TO
		dir, err := mfs.Lookup(root, f[1])
		if err != nil {
			return err
		}
		for i := number(f[2]); i < number(f[3]); i++ {
			if err := dir.(*mfs.Directory).Unlink(fmt.Sprintf("entry-%d", i)); err != nil {
				return err
			}
		}
		return flush(f[1], "/")
	case "cp":
		node, err := mfs.Lookup(root, f[1])
		if err != nil {
			return err
		}
		nd, err := node.GetNode()
		if err != nil {
			return err
		}
		return put(nd, f[2])
	case "mv":
		if err := mfs.Mv(root, f[1], f[2]); err != nil {
			return err
		}
		return flush(gopath.Dir(f[2]), gopath.Dir(f[1]), "/")
	case "rm":
		dir, err := parent(f[1])
		if err != nil {
			return err
		}
		if err := dir.Unlink(gopath.Base(f[1])); err != nil {
			return err
		}
		return dir.Flush()
	case "chcid": // PATH VERSION HASH
		builder, err := prefix(f[2], f[3])
		if err != nil {
			return err
		}
		node, err := mfs.Lookup(root, f[1])
		if err != nil {
			return err
		}
		node.(*mfs.Directory).SetCidBuilder(builder)
		return flush(f[1], gopath.Dir(f[1]))
	case "chmod":
		mode, err := strconv.ParseInt(f[2], 8, 32)
		if err != nil {
			return err
		}
		return mfs.Chmod(root, f[1], os.FileMode(mode))
	case "touch":
		return mfs.Touch(root, f[1], time.Unix(int64(number(f[2])), int64(number(f[3]))).UTC())
	}
	return errors.New("unknown operation " + f[0])
}

func main() {
	store := blockstore.NewBlockstore(dssync.MutexWrap(ds.NewMapDatastore()))
	serv = dag.NewDAGService(bserv.New(store, offline.Exchange(store)))
	var err error
	if root, err = mfs.NewRoot(ctx, serv, ft.EmptyDirNode(), nil, nil); err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) == 0 {
			continue
		}
		if err := run(f); err != nil {
			fmt.Printf("error %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		node, err := root.GetDirectory().GetNode()
		if err != nil {
			panic(err)
		}
		fmt.Println(node.Cid())
	}
}
