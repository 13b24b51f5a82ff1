package policy

import "errors"

var (
	// ErrTimeLimit says that the evaluation was stopped by its time limit or by
	// its caller: the answer is unknown.
	ErrTimeLimit = errors.New("policy time limit")
	// ErrPolicy says that the policy gave no usable answer: a builtin error, no
	// result, several, or one of another shape. The answer is deny.
	ErrPolicy = errors.New("policy error")
	// ErrInputTooLarge says that the input is over limits.policy_input_bytes.
	ErrInputTooLarge = errors.New("policy input too large")
	// ErrDocument says that a file is no input document.
	ErrDocument = errors.New("input is no document of the schema signet/input/v1")
	// ErrLoad wraps everything that makes a bundle or its parameters unfit.
	ErrLoad = errors.New("policy cannot be loaded")
	// ErrUnfit says that a bundle is not fit to be published: the checks found
	// errors, a test failed, or too little is tested.
	ErrUnfit = errors.New("bundle is not fit to be published")
	// ErrUnsigned says that an archive has no signature.
	ErrUnsigned = errors.New("bundle is not signed")
	// ErrSignature says that an archive has a signature which does not count: made
	// by another key, for another scope, or over other files.
	ErrSignature = errors.New("bundle signature does not count")
	// ErrKey says that a key neither signs nor verifies bundles.
	ErrKey = errors.New("not a key for bundles")
)
