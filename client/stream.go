package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// errSilent ends a stream on which nothing came for too long: the connection
// is dead although nobody closed it.
var errSilent = errors.New("the server went silent")

// stream reads an answer of unlimited length line by line, each of limited
// length, and gives up when the server goes silent.
type stream struct {
	body   io.Closer
	lines  *bufio.Reader
	status int
	cancel context.CancelCauseFunc
	ctx    context.Context
	timer  *time.Timer
	idle   time.Duration
}

// openStream sends k; an answer that is no success is an *Error.
func (c *Client) openStream(ctx context.Context, k *call) (*stream, error) {
	for try := 1; ; try++ {
		s, err := c.openOnce(ctx, k)
		if err == nil || try >= c.attempts || ctx.Err() != nil || !again(k, try, err) {
			return s, err
		}
		if c.sleep(ctx, pause(try, err)) != nil {
			return nil, err
		}
	}
}

func (c *Client) openOnce(ctx context.Context, k *call) (*stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	res, err := c.send(ctx, k)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		defer cancel(nil)
		defer func() { _ = res.Body.Close() }()
		body, _ := io.ReadAll(io.LimitReader(res.Body, maxLine))
		return nil, errorOf(res.StatusCode, res.Header, body)
	}
	return newStream(ctx, cancel, res, c.idle), nil
}

func newStream(ctx context.Context, cancel context.CancelCauseFunc, res *http.Response, idle time.Duration) *stream {
	return &stream{
		body: res.Body, status: res.StatusCode, cancel: cancel, ctx: ctx, idle: idle,
		lines: bufio.NewReaderSize(res.Body, 64<<10),
		timer: time.AfterFunc(idle, func() { cancel(errSilent) }),
	}
}

// next returns the next line without its end (LF or CR LF); io.EOF when the
// server closed the stream at the end of a line.
func (s *stream) next() ([]byte, error) {
	var line []byte
	for {
		part, err := s.lines.ReadSlice('\n')
		s.timer.Reset(s.idle)
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, unusable{fmt.Errorf("a line of the stream is longer than %d MiB", maxLine>>20)}
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			if cause := context.Cause(s.ctx); cause != nil {
				err = cause
			}
			return nil, err
		}
		return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
	}
}

func (s *stream) close() {
	s.timer.Stop()
	s.cancel(nil)
	_ = s.body.Close()
}

// noContent reports whether the server asked for no further attempts.
func (s *stream) noContent() bool { return s.status == http.StatusNoContent }
