package verify

// HoldLarge takes the place of large evidence that is being read, until release is
// called.
func (v *Verifier) HoldLarge() (release func()) {
	if !v.giants.TryAcquire(1) {
		panic("somebody reads large evidence")
	}
	return func() { v.giants.Release(1) }
}
