// Calls of grpc-go, each with a trace and a request id of its own.
//
//	grpcgo ADDRESS CALLS CHANNELS AT_ONCE MESSAGE-FILE NAME=VALUE...
//
// Each channel has AT_ONCE calls under way. Prints the seconds that it took.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error)      { return v.([]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                               { return "raw" }
func (raw) String() string                             { return "raw" }

func id(octets int) string {
	drawn := make([]byte, octets)
	rand.Read(drawn)
	return hex.EncodeToString(drawn)
}

func main() {
	calls, _ := strconv.ParseInt(os.Args[2], 10, 64)
	channels, _ := strconv.Atoi(os.Args[3])
	atOnce, _ := strconv.Atoi(os.Args[4])
	message, _ := os.ReadFile(os.Args[5])
	var pairs []string
	for _, each := range os.Args[6:] {
		name, value, _ := strings.Cut(each, "=")
		pairs = append(pairs, name, value)
	}
	var next int64
	var all sync.WaitGroup
	began := time.Now()
	for c := 0; c < channels; c++ {
		channel, err := grpc.Dial(os.Args[1], grpc.WithInsecure(), grpc.WithDefaultCallOptions(grpc.CustomCodecCallOption{Codec: raw{}}, grpc.CallContentSubtype("proto")))
		if err != nil {
			panic(err)
		}
		for n := 0; n < atOnce; n++ {
			all.Add(1)
			go func() {
				defer all.Done()
				for atomic.AddInt64(&next, 1) <= calls {
					also := append([]string{"traceparent", "00-" + id(16) + "-" + id(8) + "-01", "x-request-id", id(8)}, pairs...)
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					var answer []byte
					err := channel.Invoke(metadata.AppendToOutgoingContext(ctx, also...), "/bench.Worker/Unary.grpc", message[5:], &answer)
					cancel()
					if err != nil {
						fmt.Fprintln(os.Stderr, err)
						os.Exit(1)
					}
				}
			}()
		}
	}
	all.Wait()
	fmt.Println(time.Since(began).Seconds())
}
