// Calls on one channel of grpc-go, as standard input says: see ../libraries.py.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/health" // the client's side of health checking
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

type command struct {
	ID       int
	Path     string
	Metadata map[string]string
	Deadline float64
	Stream   bool
	Cancel   bool
}

var (
	channel *grpc.ClientConn
	out     = json.NewEncoder(os.Stdout)
	writing sync.Mutex
)

func tell(told map[string]any) {
	writing.Lock()
	defer writing.Unlock()
	out.Encode(told)
}

func call(ctx context.Context, cancel context.CancelFunc, asked command) {
	defer cancel()
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(asked.Metadata))
	var err error
	if asked.Stream {
		err = stream(ctx, asked)
	} else {
		err = channel.Invoke(ctx, asked.Path, &emptypb.Empty{}, &emptypb.Empty{})
	}
	ended := status.Convert(err)
	tell(map[string]any{"id": asked.ID, "code": ended.Code(), "details": ended.Message()})
}

func stream(ctx context.Context, asked command) error {
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	opened, err := channel.NewStream(ctx, both, asked.Path)
	if err != nil {
		return err
	}
	if err := opened.SendMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	for {
		if err := opened.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		tell(map[string]any{"id": asked.ID, "came": true})
	}
}

func main() {
	target, config := os.Args[1], os.Args[2]
	options := []grpc.DialOption{grpc.WithInsecure(), grpc.WithDefaultServiceConfig(config)}
	if every, _ := strconv.Atoi(os.Args[3]); every > 0 {
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: time.Duration(every) * time.Millisecond, PermitWithoutStream: true,
		}))
	}
	var err error
	if channel, err = grpc.Dial(target, options...); err != nil {
		panic(err)
	}
	cancels := map[int]context.CancelFunc{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var asked command
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		if asked.Cancel {
			cancels[asked.ID]()
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		if asked.Deadline > 0 {
			after := time.Duration(asked.Deadline * float64(time.Second))
			ctx, cancel = context.WithTimeout(context.Background(), after)
		}
		cancels[asked.ID] = cancel
		go call(ctx, cancel, asked)
	}
}
