package pep

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

type ctxKey struct{}

func TestPatienceEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPatience(context.WithValue(t.Context(), ctxKey{}, "v"), time.Second)
		defer p.End()
		if p.Err() != nil || p.inner != nil {
			t.Errorf("at first: %v, and the timer runs: %t", p.Err(), p.inner != nil)
		}
		if at, ok := p.Deadline(); !ok || time.Until(at) != time.Second {
			t.Errorf("deadline %v, %t", at, ok)
		}
		if p.Value(ctxKey{}) != "v" {
			t.Error("the parent's value is lost")
		}
		child, cancel := context.WithCancel(p)
		defer cancel()
		begun := time.Now()
		<-child.Done()
		if took := time.Since(begun); took != time.Second {
			t.Errorf("ended after %s", took)
		}
		if !errors.Is(child.Err(), context.DeadlineExceeded) || !errors.Is(p.Err(), context.DeadlineExceeded) || p.Value(ctxKey{}) != "v" {
			t.Errorf("ended with %v and %v", child.Err(), p.Err())
		}
	})
}

func TestPatienceThatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPatience(t.Context(), time.Second)
		time.Sleep(2 * time.Second)
		if !errors.Is(p.Err(), context.DeadlineExceeded) {
			t.Errorf("after its time: %v", p.Err())
		}
		ended := NewPatience(t.Context(), time.Second)
		ended.End()
		if !errors.Is(ended.Err(), context.Canceled) {
			t.Errorf("ended: %v", ended.Err())
		}
		select {
		case <-ended.Done():
		default:
			t.Error("ended, but not done")
		}
	})
}

func TestPatienceFollowsItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		p := NewPatience(parent, time.Second)
		defer p.End()
		if at, _ := p.Deadline(); time.Until(at) != time.Millisecond {
			t.Errorf("deadline in %s", time.Until(at))
		}
		cancel()
		if !errors.Is(p.Err(), context.Canceled) {
			t.Errorf("not started: %v", p.Err())
		}
		<-p.Done()
		if !errors.Is(p.Err(), context.Canceled) {
			t.Errorf("started: %v", p.Err())
		}
	})
}
