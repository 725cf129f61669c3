package main

import (
	"encoding/binary"
	"io/fs"
	"math/rand"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

const (
	tries      = 100
	longestNap = 10 * time.Millisecond
)

var channelName = regexp.MustCompile(`\A(.+)_[A-Za-z0-9]{12}_[1-9][0-9]{0,9}\z`)

var last uint64 = 1 << 46

// freshID is the next id of this process (PUB-1, PUB-2). One goroutine publishes.
func freshID() uint64 {
	last++
	if now := uint64(time.Now().UnixMicro()); now > last {
		last = now
	}
	return last<<10 | uint64(rand.Intn(1<<10))
}

// A publishing is a message on its way: staged in `tmp`, and then linked into channels.
type publishing struct {
	base
	message
	copies []string // the paths of all that was staged
}

func (p *publishing) staged() string { return p.join("tmp", strconv.FormatUint(p.id, 10)) }

// stage stages a copy under a fresh id. ENOENT: `tmp` comes and goes, or the base is gone.
func (p *publishing) stage() error {
	for n := 0; n < tries; n++ {
		copy := *p
		copy.id = freshID()
		file, err := copy.encode()
		if err != nil {
			return err
		}
		if err := p.makeTmp(); err != nil {
			return err
		}
		switch err := write(copy.staged(), file, p.messageMode); {
		case err == nil:
			p.id = copy.id
			p.copies = append(p.copies, p.staged())
			return nil
		case !is(err, syscall.EEXIST, syscall.ENOENT):
			return err
		}
	}
	return syscall.ENOENT
}

func write(path string, octets []byte, mode uint32) error {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | syscall.O_NOFOLLOW
	file, err := os.OpenFile(path, flags, fs.FileMode(mode))
	if err != nil {
		return err
	}
	_, err = file.Write(octets)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = remove(path)
	}
	return err
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !is(err, syscall.ENOENT) {
		return err
	}
	return nil
}

// openQueue opens the queue of a channel. -1: nobody reads there.
func openQueue(channel string) (int, error) {
	path := channel + "/queue"
	info, err := os.Lstat(channel)
	if gone(err) || err == nil && !info.IsDir() {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	info, err = os.Lstat(path)
	if gone(err) || err == nil && info.Mode().Type() != fs.ModeNamedPipe {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	const flags = syscall.O_WRONLY | syscall.O_NONBLOCK | syscall.O_NOFOLLOW | syscall.O_CLOEXEC
	queue, err := again(func() (int, error) { return syscall.Open(path, flags, 0) })
	if err == nil {
		var stat syscall.Stat_t
		err = syscall.Fstat(queue, &stat)
		if err == nil && stat.Mode&syscall.S_IFMT == syscall.S_IFIFO {
			return queue, nil
		}
		syscall.Close(queue)
		return -1, err
	}
	if is(err, syscall.ENXIO) || gone(err) {
		return -1, nil
	}
	info, looked := os.Lstat(path)
	if gone(looked) || looked == nil && info.Mode().Type() != fs.ModeNamedPipe {
		return -1, nil
	}
	return -1, &os.PathError{Op: "open", Path: path, Err: err}
}

// link links the message into a channel. False: the channel is gone.
func (p *publishing) link(channel string) (bool, error) {
	for n := 0; n < tries; n++ {
		err := os.Link(p.staged(), channel+"/"+strconv.FormatUint(p.id, 10))
		if err == nil {
			return true, nil
		}
		if gone(err) {
			if _, err := os.Lstat(p.staged()); err == nil {
				return false, nil
			} else if !gone(err) {
				return false, err
			}
		} else if !is(err, syscall.EEXIST, syscall.EMLINK) {
			return false, err
		}
		if err := p.stage(); err != nil { // PUB-12
			if known, unusable := err.(*failure); unusable && known.Code == "base-unusable" {
				errno, found := names[errnoOf(known.cause)]
				if !found {
					errno = "ENOENT" // no call failed
				}
				return false, &failure{Code: "io-error", Detail: known.Detail, Errno: errno}
			}
			if _, looked := os.Lstat(p.path); gone(looked) {
				return false, nil
			}
			return false, err
		}
	}
	return false, syscall.ENOENT
}

type outcome int

const (
	nobody outcome = iota
	taken
	full
)

// give gives the message to a channel.
func (p *publishing) give(name string) (outcome, error) {
	channel := p.join(name)
	queue, err := openQueue(channel)
	if err != nil || queue < 0 {
		return nobody, err
	}
	defer syscall.Close(queue)
	if linked, err := p.link(channel); err != nil || !linked {
		return nobody, err
	}
	id := binary.BigEndian.AppendUint64(nil, p.id)
	_, err = again(func() (int, error) { return syscall.Write(queue, id) })
	if err == nil {
		return taken, nil
	}
	if withdrawn := remove(channel + "/" + strconv.FormatUint(p.id, 10)); withdrawn != nil {
		return nobody, withdrawn
	}
	switch {
	case is(err, syscall.EAGAIN):
		return full, nil
	case is(err, syscall.EPIPE):
		return nobody, nil
	}
	return nobody, err
}

func (p *publishing) channels() ([]string, error) {
	directory, err := os.Open(p.path)
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	names, err := directory.Readdirnames(-1)
	var found []string
	for _, name := range names {
		parts := channelName.FindStringSubmatch(name)
		if parts != nil && isPattern(parts[1]) && matches(parts[1], p.topic) {
			found = append(found, name)
		}
	}
	return found, err
}

// publish publishes a message, and waits as long for full queues. It ends early when `ended` is closed.
func publish(m message, timeout time.Duration, ended <-chan struct{}) (int, error) {
	m.timestamp, m.id = uint64(time.Now().UnixMicro()), 1
	if _, err := m.encode(); err != nil {
		return 0, err // PUB-4
	}
	m.id = 0
	deadline := time.Now().Add(timeout)
	for n := 0; n < tries; n++ {
		found, err := openBase()
		if err != nil {
			return 0, err
		}
		p := publishing{base: found, message: m}
		channels, err := p.channels()
		if err == nil && len(channels) == 0 {
			return 0, nil
		}
		if err == nil {
			err = p.stage()
			if err == nil {
				return p.reach(channels, deadline, ended)
			}
		}
		if !is(err, syscall.ENOENT) {
			return 0, counted(err, 0)
		}
	}
	return 0, counted(syscall.ENOENT, 0)
}

// reach gives a staged message to channels, and again to those that are full.
func (p *publishing) reach(channels []string, deadline time.Time, ended <-chan struct{}) (int, error) {
	count := 0
	var failed error
	keep := func(err error) {
		if failed == nil {
			failed = err
		}
	}
	for nap := time.Millisecond; ; nap = min(2*nap, longestNap) {
		over := !time.Now().Before(deadline)
		var left []string
		for _, channel := range channels {
			switch result, err := p.give(channel); {
			case err != nil:
				keep(err)
			case result == taken:
				count++
			case result == full:
				left = append(left, channel)
			}
		}
		if channels = left; over || len(channels) == 0 {
			break
		}
		select {
		case <-ended:
			deadline = time.Now()
		case <-time.After(min(nap, time.Until(deadline))):
		}
	}
	for _, path := range p.copies {
		if err := remove(path); err != nil {
			keep(err)
		}
	}
	if failed != nil {
		return count, counted(failed, count)
	}
	return count, nil
}

// counted is an error with the count that io-error has.
func counted(err error, count int) error {
	found := *ioError(err)
	if found.Code == "io-error" {
		found.Count = &count
	}
	return &found
}

func min(one, other time.Duration) time.Duration {
	if one < other {
		return one
	}
	return other
}
