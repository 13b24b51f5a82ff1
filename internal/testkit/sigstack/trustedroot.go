package sigstack

import (
	"crypto/x509"
	"time"
)

// TrustedRoot is a trusted_root.json (protobuf-specs, sigstore_trustroot.proto).
// Edit it before [TrustedRoot.JSON] to leave parts out or to change a validity.
type TrustedRoot struct {
	MediaType   string       `json:"mediaType"`
	Rekor       []TrustedLog `json:"tlogs"`
	Authorities []TrustedCA  `json:"certificateAuthorities"`
	CT          []TrustedLog `json:"ctlogs"`
	TSAs        []TrustedCA  `json:"timestampAuthorities"`
}

// TrustedLog is a transparency log.
type TrustedLog struct {
	BaseURL       string     `json:"baseUrl"`
	HashAlgorithm string     `json:"hashAlgorithm"`
	PublicKey     TrustedKey `json:"publicKey"`
	LogID         keyIDJSON  `json:"logId"`
}

// TrustedKey is a log's public key.
type TrustedKey struct {
	RawBytes   []byte   `json:"rawBytes"`
	KeyDetails string   `json:"keyDetails"`
	ValidFor   Validity `json:"validFor"`
}

// Validity is a period; a nil End is open.
type Validity struct {
	Start time.Time  `json:"start"`
	End   *time.Time `json:"end,omitempty"`
}

// TrustedCA is a certificate authority, its chain from the leaf-most certificate
// to the root.
type TrustedCA struct {
	Subject struct {
		Organization string `json:"organization"`
		CommonName   string `json:"commonName"`
	} `json:"subject"`
	URI       string    `json:"uri"`
	CertChain chainJSON `json:"certChain"`
	ValidFor  Validity  `json:"validFor"`
}

// TrustedRoot is the root that verifies what the stack makes.
func (s *Stack) TrustedRoot() *TrustedRoot {
	valid := Validity{Start: s.From}
	log := func(url string, key *Key, id []byte) TrustedLog {
		return TrustedLog{url, "SHA2_256", TrustedKey{key.SPKI(), key.Algorithm.scheme().details, valid}, keyIDJSON{id}}
	}
	ca := func(uri string, chain []*x509.Certificate) TrustedCA {
		c := TrustedCA{URI: uri, ValidFor: valid}
		root := chain[len(chain)-1]
		c.Subject.Organization, c.Subject.CommonName = s.Name, root.Subject.CommonName
		for _, cert := range chain {
			c.CertChain.Certificates = append(c.CertChain.Certificates, rawJSON{cert.Raw})
		}
		return c
	}
	t := &TrustedRoot{
		MediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		Rekor: []TrustedLog{
			log(s.Rekor1.URL(), s.Rekor1.key, s.Rekor1.ID()),
			log(s.Rekor2.URL(), s.Rekor2.key, s.Rekor2.ID()),
		},
		Authorities: []TrustedCA{ca("https://fulcio."+s.Name+".test", s.Fulcio.Chain())},
		CT:          []TrustedLog{log("https://ct."+s.Name+".test", s.CT.key, s.CT.ID())},
		TSAs:        []TrustedCA{},
	}
	for _, tsa := range s.TSAs {
		t.TSAs = append(t.TSAs, ca(tsa.URL, tsa.Chain()))
	}
	return t
}

// JSON is the file.
func (t *TrustedRoot) JSON() ([]byte, error) { return marshal(t) }

// TrustedRootJSON is the stack's trusted_root.json, unedited.
func (s *Stack) TrustedRootJSON() ([]byte, error) { return s.TrustedRoot().JSON() }
