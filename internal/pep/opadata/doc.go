// Package opadata answers as the data API of Open Policy Agent does
// (https://www.openpolicyagent.org/docs/rest-api#data-api), so that whoever asks OPA
// about an image can ask Signet in its place. Begin with [New].
//
// There are three kinds of documents: data.signing.verdict, the same under the
// mounts of the configuration, and the members of both, such as
// data.signing.verdict.allow. Whatever else is asked for is undefined, as in OPA.
package opadata
