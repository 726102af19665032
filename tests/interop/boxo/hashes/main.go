// Prints, for every hash function that go-multihash has a name for, the CID that boxo gives the bytes "foo" under it, or
// why it gives none: the oracle behind src/base/hashes.txt. Kubo's `add --hash` goes the same way: a name becomes a number,
// the digest has the function's own length, and the blockservice refuses what verifcid does not list.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	bserv "github.com/ipfs/boxo/blockservice"
	blockstore "github.com/ipfs/boxo/blockstore"
	offline "github.com/ipfs/boxo/exchange/offline"
	dag "github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	mh "github.com/multiformats/go-multihash"
)

func main() {
	store := blockstore.NewBlockstore(dssync.MutexWrap(ds.NewMapDatastore()))
	serv := dag.NewDAGService(bserv.New(store, offline.Exchange(store)))
	add := func(code uint64) (cid.Cid, error) {
		prefix := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: code, MhLength: -1}
		node, err := dag.NewRawNodeWPrefix([]byte("foo"), prefix)
		if err != nil {
			return cid.Undef, err
		}
		return node.Cid(), serv.Add(context.Background(), node)
	}
	for _, name := range slices.Sorted(maps.Keys(mh.Names)) {
		c, err := add(mh.Names[name])
		if err != nil {
			fmt.Printf("%s refused %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Println(name, c)
	}
}
