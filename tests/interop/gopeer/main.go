// Command gopeer is an IPFS peer made of the libraries that Kubo is made of (go-libp2p, go-libp2p-kad-dht, boxo). It
// serves and fetches content over Bitswap so that ipfs-kit can be tried against it. boxo's server opens a new stream for
// every reply. Each answer is one line of JSON on stdout; anything that fails exits with status 1.
//
//	gopeer serve [-bytes N] [-files N]           serve a file and a folder until stdin closes
//	gopeer get -peer ADDR -cid CID               fetch a file or a folder from that peer only
//	gopeer absent -peer ADDR                     want a CID nobody has; the peer must say DONT_HAVE
//	gopeer find -peer ADDR -cid CID              ask the LAN DHT through that peer who provides the CID
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	bspb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnet "github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/ipld/merkledag"
	unixfile "github.com/ipfs/boxo/ipld/unixfs/file"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	format "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
)

func say(event string, fields map[string]any) {
	fields["event"] = event
	line, err := json.Marshal(fields)
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
}

func fail(err error) {
	say("failed", map[string]any{"error": err.Error()})
	os.Exit(1)
}

func must[T any](value T, err error) T {
	if err != nil {
		fail(err)
	}
	return value
}

// node is a host with Bitswap over an in-memory blockstore and no way to fetch but Bitswap.
type node struct {
	host host.Host
	dag  format.DAGService
}

func newNode(ctx context.Context, listen string) node {
	options := []libp2p.Option{libp2p.UserAgent("gopeer/1"), libp2p.DisableRelay()}
	if listen == "" {
		options = append(options, libp2p.NoListenAddrs)
	} else {
		options = append(options, libp2p.ListenAddrStrings(listen))
	}
	h := must(libp2p.New(options...))
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	exchange := bitswap.New(ctx, bsnet.NewFromIpfsHost(h), nil, store)
	return node{host: h, dag: merkledag.NewDAGService(blockservice.New(store, exchange))}
}

func (n node) connect(ctx context.Context, addr string) peer.ID {
	info := must(peer.AddrInfoFromString(addr))
	if err := n.host.Connect(ctx, *info); err != nil {
		fail(fmt.Errorf("cannot connect to %s: %w", addr, err))
	}
	return info.ID
}

// noise yields the same bytes for the same seed on every run: xorshift64*.
type noise struct{ state uint64 }

func (r *noise) Read(out []byte) (int, error) {
	for i := range out {
		r.state ^= r.state >> 12
		r.state ^= r.state << 25
		r.state ^= r.state >> 27
		out[i] = byte((r.state * 2685821657736338717) >> 56)
	}
	return len(out), nil
}

func (n node) addFile(ctx context.Context, content io.Reader) format.Node {
	batch := format.NewBufferedDAG(ctx, n.dag)
	params := helpers.DagBuilderParams{Dagserv: batch, Maxlinks: helpers.DefaultLinksPerBlock}
	builder := must(params.New(chunk.DefaultSplitter(content)))
	root := must(balanced.Layout(builder))
	if err := batch.Commit(); err != nil {
		fail(err)
	}
	return root
}

func serve(ctx context.Context, bytes int64, count int) {
	n := newNode(ctx, "/ip4/127.0.0.1/tcp/0")
	digest := sha256.New()
	root := n.addFile(ctx, io.TeeReader(io.LimitReader(&noise{state: 7}, bytes), digest))
	dir := must(uio.NewDirectory(n.dag))
	listing := sha256.New()
	for i := 0; i < count; i++ {
		name := fmt.Sprintf("file-%04d.txt", i)
		text := fmt.Sprintf("this is file %d of the Go peer\n", i)
		child := n.addFile(ctx, stringReader(text))
		if err := dir.AddChild(ctx, name, child); err != nil {
			fail(err)
		}
		fmt.Fprintf(listing, "%s %x\n", name, sha256.Sum256([]byte(text)))
	}
	folder := must(dir.GetNode())
	if err := n.dag.Add(ctx, folder); err != nil {
		fail(err)
	}
	info := peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}
	var addrs []string
	for _, addr := range must(peer.AddrInfoToP2pAddrs(&info)) {
		addrs = append(addrs, addr.String())
	}
	say("serving", map[string]any{
		"peer": n.host.ID().String(), "addresses": addrs,
		"file": root.Cid().String(), "bytes": bytes, "sha256": hex.EncodeToString(digest.Sum(nil)),
		"folder": folder.Cid().String(), "files": count, "listing": hex.EncodeToString(listing.Sum(nil)),
	})
	_, _ = io.Copy(io.Discard, os.Stdin)
}

type text struct{ rest string }

func stringReader(s string) io.Reader { return &text{s} }
func (t *text) Read(out []byte) (int, error) {
	if t.rest == "" {
		return 0, io.EOF
	}
	n := copy(out, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// get fetches a file (digest of its bytes) or a folder (digest over "name sha256\n" in order of names).
func get(ctx context.Context, addr string, c cid.Cid) {
	n := newNode(ctx, "")
	n.connect(ctx, addr)
	start := time.Now()
	session := merkledag.NewReadOnlyDagService(merkledag.NewSession(ctx, n.dag))
	root := must(session.Get(ctx, c))
	if len(root.Links()) > 0 {
		if err := merkledag.FetchGraph(ctx, c, n.dag); err != nil {
			fail(err)
		}
	}
	found := must(unixfile.NewUnixfsFile(ctx, n.dag, root))
	var total int64
	var lines []string
	var whole string
	var walk func(name string, f files.Node)
	walk = func(name string, f files.Node) {
		switch f := f.(type) {
		case files.Directory:
			entries := f.Entries()
			for entries.Next() {
				walk(path.Join(name, entries.Name()), entries.Node())
			}
			if entries.Err() != nil {
				fail(entries.Err())
			}
		case *files.Symlink:
			lines = append(lines, name+" -> "+f.Target)
		case files.File:
			digest := sha256.New()
			size := must(io.Copy(digest, f))
			total += size
			whole = hex.EncodeToString(digest.Sum(nil))
			lines = append(lines, name+" "+whole)
		}
	}
	walk("", found)
	sort.Strings(lines)
	listing := sha256.New()
	for _, line := range lines {
		fmt.Fprintln(listing, line)
	}
	ms := time.Since(start).Milliseconds()
	if _, isDir := found.(files.Directory); isDir {
		say("folder", map[string]any{"cid": c.String(), "bytes": total, "files": len(lines),
			"listing": hex.EncodeToString(listing.Sum(nil)), "ms": ms})
	} else {
		say("file", map[string]any{"cid": c.String(), "bytes": total, "sha256": whole, "ms": ms})
	}
}

// ear hears Bitswap messages without an engine behind it.
type ear struct{ heard chan bsmsg.BitSwapMessage }

func (e *ear) ReceiveMessage(_ context.Context, _ peer.ID, message bsmsg.BitSwapMessage) {
	select {
	case e.heard <- message:
	default:
	}
}
func (e *ear) ReceiveError(err error)   { say("receive-error", map[string]any{"error": err.Error()}) }
func (e *ear) PeerConnected(peer.ID)    {}
func (e *ear) PeerDisconnected(peer.ID) {}

// absent wants a CID nobody has, as a block and as presence, and expects DONT_HAVE for each.
func absent(ctx context.Context, addr string) {
	h := must(libp2p.New(libp2p.NoListenAddrs, libp2p.DisableRelay()))
	network := bsnet.NewFromIpfsHost(h)
	listener := &ear{heard: make(chan bsmsg.BitSwapMessage, 64)}
	network.Start(listener)
	info := must(peer.AddrInfoFromString(addr))
	if err := h.Connect(ctx, *info); err != nil {
		fail(err)
	}
	for _, kind := range []bspb.Message_Wantlist_WantType{bspb.Message_Wantlist_Have, bspb.Message_Wantlist_Block} {
		seed := fmt.Sprintf("nobody has this %d %d", time.Now().UnixNano(), kind)
		c := cid.NewCidV1(cid.Raw, must(multihash.Sum([]byte(seed), multihash.SHA2_256, -1)))
		message := bsmsg.New(false)
		message.AddEntry(c, 1, kind, true)
		start := time.Now()
		if err := network.SendMessage(ctx, info.ID, message); err != nil {
			fail(err)
		}
		for answered := false; !answered; {
			select {
			case reply := <-listener.heard:
				for _, missing := range reply.DontHaves() {
					answered = answered || missing.Equals(c)
				}
			case <-ctx.Done():
				fail(fmt.Errorf("no DONT_HAVE for a %s of %s", kind, c))
			}
		}
		say("dont-have", map[string]any{"cid": c.String(), "want": kind.String(), "ms": time.Since(start).Milliseconds()})
	}
}

// find asks the LAN DHT, knowing only that peer, who provides the CID.
func find(ctx context.Context, addr string, c cid.Cid) {
	h := must(libp2p.New(libp2p.NoListenAddrs, libp2p.DisableRelay()))
	table := must(dht.New(h, dht.ProtocolPrefix("/ipfs/lan"), dht.Mode(dht.ModeClient),
		dht.AddressFilter(func(a []multiaddr.Multiaddr) []multiaddr.Multiaddr { return a }),
		dht.QueryFilter(func(_ any, _ peer.AddrInfo) bool { return true }),
		dht.RoutingTableFilter(func(_ any, _ peer.ID) bool { return true })))
	info := must(peer.AddrInfoFromString(addr))
	if err := h.Connect(ctx, *info); err != nil {
		fail(err)
	}
	for table.RoutingTable().Size() == 0 {
		select {
		case <-ctx.Done():
			fail(fmt.Errorf("the peer never entered the routing table: does it speak /ipfs/lan/kad/1.0.0 as a server?"))
		case <-time.After(50 * time.Millisecond):
		}
	}
	providers := []string{}
	for provider := range table.FindProvidersAsync(ctx, c, 1) {
		providers = append(providers, provider.ID.String())
	}
	if len(providers) == 0 {
		fail(fmt.Errorf("the DHT names no provider of %s", c))
	}
	say("providers", map[string]any{"cid": c.String(), "providers": providers})
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: gopeer serve|get|absent|find"))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	addr := flags.String("peer", "", "multiaddress with /p2p/ of the peer to talk to")
	want := flags.String("cid", "", "what to fetch or find")
	bytes := flags.Int64("bytes", 64<<20, "size of the served file")
	count := flags.Int("files", 1000, "files in the served folder")
	limit := flags.Duration("timeout", 120*time.Second, "give up after this long (not for serve)")
	_ = flags.Parse(os.Args[2:])
	ctx := context.Background()
	if os.Args[1] != "serve" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *limit)
		defer cancel()
	}
	switch os.Args[1] {
	case "serve":
		serve(ctx, *bytes, *count)
	case "get":
		get(ctx, *addr, must(cid.Decode(*want)))
	case "absent":
		absent(ctx, *addr)
	case "find":
		find(ctx, *addr, must(cid.Decode(*want)))
	default:
		fail(fmt.Errorf("unknown verb %q", os.Args[1]))
	}
}
