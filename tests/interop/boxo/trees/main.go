// Random trees with random options: the CID that our `add` gives is compared with boxo's, with that of npm's
// ipfs-unixfs-importer, and with Kubo's own where it is at hand. One line a disagreement, with what repeats it.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

var (
	seed     = flag.Uint64("seed", 0, "what decides all choices; 0: by the clock")
	seconds  = flag.Int("seconds", 60, "how long to go on")
	only     = flag.Int("only", -1, "the one tree to compare")
	scratch  = flag.String("scratch", "", "an empty folder to work in")
	kit      = flag.String("kit", "", "our binary")
	offline_ = flag.String("offline", "", "our repo without a daemon")
	daemon   = flag.String("daemon", "", "our repo with a daemon")
	importer = flag.String("importer", "", "the command that runs the importer, its words separated by spaces")
	kubo     = flag.String("kubo", "", "Kubo's binary")
	kuboRepo = flag.String("kubo-repo", "", "its repo; beside it, named by the profile behind a dash, those with a profile")
)

func run(env, program string, arguments ...string) (string, error) {
	command := exec.Command(program, arguments...)
	command.Env = append(os.Environ(), env)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// The importer from npm, asked in one line of JSON and answering in one.
type helia struct {
	in  io.Writer
	out *bufio.Scanner
}

func startHelia(command string) (*helia, error) {
	words := strings.Fields(command)
	child := exec.Command(words[0], words[1:]...)
	in, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	child.Stderr = os.Stderr
	return &helia{in, bufio.NewScanner(out)}, child.Start()
}

// The options as the importer knows them, or nil. Modes and times are not compared: it puts the bytes of a file of one chunk
// that has them into the root, where Kubo has a leaf below, and writes times after 2038 in its own way.
func heliaOptions(o *options, t *tree) map[string]any {
	size, fixed := strings.CutPrefix(o.chunkerName(), "size-")
	if t.symlinks || t.odd || !fixed || o.hash != "" || o.inline || len(o.ignore) > 0 || !o.hidden || o.attributes() ||
		o.maxDirectoryLinks != 0 || !o.emptyDirs || o.wrap {
		return nil
	}
	chunk, _ := strconv.Atoi(size)
	bits := 0
	for n := o.fanout(); n > 1; n /= 2 {
		bits++
	}
	return map[string]any{
		"cidVersion": o.version(), "rawLeaves": o.rawLeaves(), "chunk": chunk, "trickle": o.trickle, "links": o.fileLinks(),
		"bits": bits, "block": o.profile == profileV1,
	}
}

func (h *helia) add(path string, options map[string]any) (string, error) {
	options["path"] = path
	line, err := json.Marshal(options)
	if err != nil {
		return "", err
	}
	if _, err := h.in.Write(append(line, '\n')); err != nil {
		return "", err
	}
	if !h.out.Scan() {
		return "", fmt.Errorf("the importer ended: %v", h.out.Err())
	}
	answer := h.out.Text()
	if why, failed := strings.CutPrefix(answer, "error "); failed {
		return "", fmt.Errorf("%s", why)
	}
	return answer, nil
}

func main() {
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	fmt.Printf("seed %d\n", *seed)
	var npm *helia
	if *importer != "" {
		var err error
		npm, err = startHelia(*importer)
		must(err)
	}
	compared, wrong := map[string]int{}, 0
	until := time.Now().Add(time.Duration(*seconds) * time.Second)
	trees := 0
	for n := 0; time.Now().Before(until) && wrong < 10; n++ {
		if *only >= 0 {
			if n > *only {
				break
			}
			if n < *only {
				continue
			}
		}
		r := rand.New(rand.NewPCG(*seed, uint64(n)))
		trees++
		t := makeTree(r, fmt.Sprintf("%s/tree-%d", *scratch, n), r.IntN(2) == 0)
		before := wrong
		for k := range 6 {
			o := randomOptions(r, t)
			if k < 2 {
				o.onlyWhatNpmKnows()
			}
			paths := []string{t.root}
			if o.wrap && len(t.top) > 0 && r.IntN(2) == 0 {
				paths = t.top[:1+r.IntN(min(3, len(t.top)))]
			} else if len(t.top) > 0 && r.IntN(6) == 0 {
				paths = t.top[:1]
			}
			env, how := "IPFS_KIT_PATH="+*offline_, []string{"--only-hash"}
			if k%2 == 1 {
				env = "IPFS_KIT_PATH=" + *daemon
			}
			if k > 3 {
				how = []string{"--pin=false"}
			}
			if o.profile != "" {
				how = append(how, "--profile="+o.profile)
			}
			arguments := append(append(append([]string{"add"}, how...), o.flags()...), paths...)
			ours, err := run(env, *kit, arguments...)
			if err != nil {
				ours = "error: " + err.Error()
			}
			check := func(who string, theirs string, err error) {
				compared[who]++
				if err != nil {
					theirs = "error: " + err.Error()
				}
				failed := strings.HasPrefix(ours, "error: ") && strings.HasPrefix(theirs, "error: ")
				if ours != theirs && !failed {
					wrong++
					fmt.Printf("FAIL -seed %d -only %d: %s says %s, ours is %s\n     %s %q\n", *seed, n, who, theirs, ours, env, arguments)
				}
			}
			theirs, err := boxoAdd(o, paths)
			check("boxo", theirs, err)
			if known := heliaOptions(o, t); npm != nil && known != nil && len(paths) == 1 && paths[0] == t.root {
				theirs, err := npm.add(t.root, known)
				check("npm", theirs, err)
			}
			if *kubo != "" && !o.kuboRefuses() {
				repo := *kuboRepo
				if o.profile != "" {
					repo += "-" + o.profile
				}
				theirs, err := run("IPFS_PATH="+repo, *kubo, append(append([]string{"add", "--pin=false"}, o.flags()...), paths...)...)
				check("Kubo", theirs, err)
			}
		}
		if wrong == before {
			must(os.RemoveAll(t.root))
		}
	}
	fmt.Printf("%d trees: boxo %d, npm %d, Kubo %d comparisons, %d disagreements\n", trees, compared["boxo"], compared["npm"], compared["Kubo"], wrong)
	if wrong > 0 || compared["boxo"] == 0 || (npm != nil && compared["npm"] == 0 && *only < 0) {
		os.Exit(1)
	}
}
