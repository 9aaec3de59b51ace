package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
)

// TCP echo: 64 connections, a goroutine to each, 64 bytes back and forth; messages a second. The other side is ../load.c.
func tcpEcho() float64 {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(err == nil, "listen")
	go func() {
		for i := 0; i < 64; i++ {
			c, err := listener.Accept()
			must(err == nil, "accept")
			go func() {
				var message [64]byte
				for {
					n, err := c.Read(message[:])
					if err != nil {
						break
					}
					if _, err := c.Write(message[:n]); err != nil {
						break
					}
				}
				c.Close()
			}()
		}
	}()
	load := exec.Command(os.Getenv("BENCH_LOAD"), strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), "64", "64")
	load.Stderr = os.Stderr
	answer, err := load.Output()
	must(err == nil, "the load")
	rate := 0.0
	fmt.Sscan(string(answer), &rate)
	return rate
}
