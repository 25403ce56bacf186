// Package reactor waits for many TCP connections on one goroutine (epoll,
// Linux; elsewhere the package is empty). A connection begins in the care of
// the runtime, like any other, can join a loop while it is busy with messages
// alone, and leaves it for whatever may block. Idle connections on a loop have
// neither a goroutine nor a buffer.
//
// It refuses to know what bytes mean, to queue, and to read a side of which the
// other one has not taken all: those are its owner's to decide. It holds what a
// socket did not take, once.
package reactor
