package wire

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
)

// Binding is the channel binding of a TLS connection on which the server showed
// cert: the hash of the certificate by the hash function of its signature
// (tls-server-end-point, RFC 5929 §4.1). It is nil where that is not defined, as
// for Ed25519; then SCRAM-SHA-256-PLUS cannot be offered.
func Binding(cert *x509.Certificate) []byte {
	if cert == nil {
		return nil
	}
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1, // too weak: SHA-256 in their place
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256, x509.DSAWithSHA256:
		sum := sha256.Sum256(cert.Raw)
		return sum[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(cert.Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(cert.Raw)
		return sum[:]
	}
	return nil
}
