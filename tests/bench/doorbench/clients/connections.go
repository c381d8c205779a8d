// A connection for each call: connect, one call with a path of its own, close.
//
//	connections ADDRESS CALLS AT_ONCE plain|full|resumed MESSAGE-FILE NAME=VALUE...
//
// AT_ONCE connections are under way at any time. Prints the seconds that it took. It speaks just
// enough HTTP/2 for that, so that the load costs less than what it loads.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := make([]byte, 9, 9+len(payload))
	binary.BigEndian.PutUint32(head, uint32(len(payload))<<8|uint32(kind))
	head[4] = flags
	binary.BigEndian.PutUint32(head[5:], stream)
	return append(head, payload...)
}

func literal(name, value string) []byte { // both shorter than 127 octets
	out := append([]byte{0, byte(len(name))}, name...)
	return append(append(out, byte(len(value))), value...)
}

func call(conn net.Conn, head, tail []byte, number int64) error {
	block := append(append([]byte{}, head...), literal(":path", fmt.Sprintf("/bench.Worker/Unary?%d", number))...)
	block = append(block, tail...)
	opening := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	opening = append(opening, frame(4, 0, 0, nil)...)
	opening = append(opening, frame(1, 4, 1, block)...)
	opening = append(opening, frame(0, 1, 1, message)...)
	if _, err := conn.Write(opening); err != nil {
		return err
	}
	reader := bufio.NewReader(conn)
	var got [9]byte
	octets := 0
	for {
		if _, err := io.ReadFull(reader, got[:]); err != nil {
			return err
		}
		size, kind, flags := int(binary.BigEndian.Uint32(got[:])>>8), got[3], got[4]
		if _, err := io.CopyN(io.Discard, reader, int64(size)); err != nil {
			return err
		}
		switch {
		case kind == 4 && flags&1 == 0:
			if _, err := conn.Write(frame(4, 1, 0, nil)); err != nil {
				return err
			}
		case kind == 0:
			octets += size
		case kind == 3 || kind == 7:
			return fmt.Errorf("sent away by a frame of kind %d", kind)
		}
		if kind <= 1 && flags&1 == 1 {
			if octets == 0 {
				return fmt.Errorf("refused")
			}
			return nil
		}
	}
}

var message []byte

func main() {
	address, how := os.Args[1], os.Args[4]
	calls, _ := strconv.ParseInt(os.Args[2], 10, 64)
	atOnce, _ := strconv.Atoi(os.Args[3])
	message, _ = os.ReadFile(os.Args[5])
	scheme := "https"
	if how == "plain" {
		scheme = "http"
	}
	head := append(literal(":method", "POST"), literal(":scheme", scheme)...)
	tail := literal(":authority", "localhost")
	for _, each := range os.Args[6:] {
		name, value, _ := strings.Cut(each, "=")
		tail = append(tail, literal(name, value)...)
	}
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13, ServerName: "localhost"}
	if how == "resumed" {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	var next, resumed int64
	var all sync.WaitGroup
	began := time.Now()
	for n := 0; n < atOnce; n++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for {
				number := atomic.AddInt64(&next, 1)
				if number > calls {
					return
				}
				conn, err := net.Dial("tcp", address)
				if err == nil && how != "plain" {
					secured := tls.Client(conn, config)
					if err = secured.Handshake(); err == nil && secured.ConnectionState().DidResume {
						atomic.AddInt64(&resumed, 1)
					}
					conn = secured
				}
				if err == nil {
					err = call(conn, head, tail, number)
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				conn.Close()
			}
		}()
	}
	all.Wait()
	took := time.Since(began).Seconds()
	if how == "resumed" && resumed < calls/2 {
		fmt.Fprintf(os.Stderr, "only %d of %d sessions were resumed\n", resumed, calls)
		os.Exit(1)
	}
	fmt.Println(took)
}
