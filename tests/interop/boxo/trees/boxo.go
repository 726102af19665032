package main

import (
	"context"
	"errors"
	"os"
	gopath "path"
	"time"

	bserv "github.com/ipfs/boxo/blockservice"
	blockstore "github.com/ipfs/boxo/blockstore"
	chunker "github.com/ipfs/boxo/chunker"
	offline "github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/files"
	dag "github.com/ipfs/boxo/ipld/merkledag"
	ft "github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/boxo/ipld/unixfs/importer/trickle"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/boxo/mfs"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-cidutil"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
)

var ctx = context.Background()

// What Kubo's `add` makes of one path with these options, put together from boxo's packages: files by its importer, folders by
// its MFS, what is left out by its filter.
type adder struct {
	opts  *options
	build cid.Builder
	serv  ipld.DAGService
	root  *mfs.Root
	// As in Kubo, what was said of one node holds for the next until it says something else.
	mode  os.FileMode
	mtime time.Time
}

func newAdder(o *options) (*adder, error) {
	version, raw := o.version(), o.rawLeaves()
	_ = raw
	prefix, err := dag.PrefixForCidVersion(version)
	if err != nil {
		return nil, err
	}
	prefix.MhType, prefix.MhLength = mh.Names[o.hashName()], -1
	var build cid.Builder = prefix
	if o.inline {
		build = cidutil.InlineBuilder{Builder: prefix, Limit: o.inlineLimit}
	}
	store := blockstore.NewBlockstore(dssync.MutexWrap(ds.NewMapDatastore()))
	a := &adder{opts: o, build: build, serv: dag.NewDAGService(bserv.New(store, offline.Exchange(store)))}
	if o.mode != 0 {
		a.mode = os.FileMode(o.mode)
	}
	if o.mtime != 0 {
		a.mtime = time.Unix(o.mtime, int64(o.mtimeNsecs))
	}
	return a, nil
}

func (a *adder) dirOptions(extra ...mfs.Option) []mfs.Option {
	estimation := uio.SizeEstimationLinks
	if a.opts.profile == profileV1 {
		estimation = uio.SizeEstimationBlock
	}
	return append([]mfs.Option{
		mfs.WithCidBuilder(a.build), mfs.WithMaxLinks(a.opts.maxDirectoryLinks), mfs.WithMaxHAMTFanout(a.opts.fanout()),
		mfs.WithSizeEstimationMode(estimation),
	}, extra...)
}

func (a *adder) tree() (*mfs.Root, error) {
	var err error
	if a.root == nil {
		a.root, err = mfs.NewEmptyRoot(ctx, a.serv, nil, nil, a.dirOptions()...)
	}
	return a.root, err
}

func (a *adder) file(f files.File) (ipld.Node, error) {
	splitter, err := chunker.FromString(f, a.opts.chunkerName())
	if err != nil {
		return nil, err
	}
	params := helpers.DagBuilderParams{
		Dagserv: a.serv, RawLeaves: a.opts.rawLeaves(), Maxlinks: a.opts.fileLinks(), CidBuilder: a.build,
		FileMode: a.mode, FileModTime: a.mtime,
	}
	builder, err := params.New(splitter)
	if err != nil {
		return nil, err
	}
	if a.opts.trickle {
		return trickle.Layout(builder)
	}
	return balanced.Layout(builder)
}

func (a *adder) symlink(l *files.Symlink) (ipld.Node, error) {
	data, err := ft.SymlinkData(l.Target)
	if err != nil {
		return nil, err
	}
	if !a.mtime.IsZero() {
		fsn, err := ft.FSNodeFromBytes(data)
		if err != nil {
			return nil, err
		}
		fsn.SetModTime(a.mtime)
		if data, err = fsn.GetBytes(); err != nil {
			return nil, err
		}
	}
	node := dag.NodeWithData(data)
	if err := node.SetCidBuilder(a.build); err != nil {
		return nil, err
	}
	return node, a.serv.Add(ctx, node)
}

func (a *adder) put(node ipld.Node, path string) error {
	if path == "" {
		path = node.Cid().String()
	}
	root, err := a.tree()
	if err != nil {
		return err
	}
	if dir := gopath.Dir(path); dir != "." {
		if err := mfs.Mkdir(root, dir, mfs.MkdirOpts{Mkparents: true}, a.dirOptions()...); err != nil {
			return err
		}
	}
	return mfs.PutNode(root, path, node)
}

func (a *adder) visit(path string, node files.Node, top bool) error {
	defer node.Close()
	if a.opts.preserveMtime && a.opts.mtime == 0 {
		a.mtime = node.ModTime()
	}
	if a.opts.preserveMode && a.opts.mode == 0 {
		a.mode = node.Mode()
	}
	switch n := node.(type) {
	case files.Directory:
		return a.dir(path, n, top)
	case *files.Symlink:
		made, err := a.symlink(n)
		if err != nil {
			return err
		}
		return a.put(made, path)
	case files.File:
		made, err := a.file(n)
		if err != nil {
			return err
		}
		return a.put(made, path)
	}
	return errors.New("neither a file nor a folder nor a link")
}

func (a *adder) dir(path string, dir files.Directory, top bool) error {
	entries := dir.Entries()
	more := entries.Next()
	if !more && entries.Err() == nil && !a.opts.emptyDirs && !top {
		return nil
	}
	said := a.dirOptions(mfs.WithMode(a.mode), mfs.WithModTime(a.mtime))
	if top && (a.mode != 0 || !a.mtime.IsZero()) {
		root, err := mfs.NewEmptyRoot(ctx, a.serv, nil, nil, said...)
		if err != nil {
			return err
		}
		a.root = root
	}
	if !(top && path == "") {
		root, err := a.tree()
		if err != nil {
			return err
		}
		if err := mfs.Mkdir(root, path, mfs.MkdirOpts{Mkparents: true}, said...); err != nil {
			return err
		}
	}
	for ; more; more = entries.Next() {
		if err := a.visit(gopath.Join(path, entries.Name()), entries.Node(), false); err != nil {
			return err
		}
	}
	return entries.Err()
}

// The CID of one path, or of all in a folder around them.
func boxoAdd(o *options, paths []string) (string, error) {
	filter, err := files.NewFilter("", o.ignore, o.hidden)
	if err != nil {
		return "", err
	}
	node := func(path string) (files.Node, error) {
		stat, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		return files.NewSerialFileWithOptions(path, stat, files.SerialFileOptions{Filter: filter, DereferenceSymlinks: o.dereference})
	}
	var top files.Node
	if o.wrap {
		var entries []files.DirEntry
		for _, path := range paths {
			n, err := node(path)
			if err != nil {
				return "", err
			}
			entries = append(entries, files.FileEntry(gopath.Base(path), n))
		}
		top = files.NewSliceDirectory(entries)
	} else if top, err = node(paths[len(paths)-1]); err != nil {
		return "", err
	}
	a, err := newAdder(o)
	if err != nil {
		return "", err
	}
	if err := a.visit("", top, true); err != nil {
		return "", err
	}
	root, err := a.tree()
	if err != nil {
		return "", err
	}
	var made mfs.FSNode = root.GetDirectory()
	if err := made.Flush(); err != nil {
		return "", err
	}
	if _, folder := top.(files.Directory); !folder {
		names, err := root.GetDirectory().ListNames(ctx)
		if err != nil {
			return "", err
		}
		if made, err = root.GetDirectory().Child(names[0]); err != nil {
			return "", err
		}
	}
	if err := root.Close(); err != nil {
		return "", err
	}
	got, err := made.GetNode()
	if err != nil {
		return "", err
	}
	return got.Cid().String(), nil
}
