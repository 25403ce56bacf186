package client

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// GatewayAuthority returns, in PEM, the certificate of the authority that the
// server made for its gateways; a 404 where it made none.
func (c *Client) GatewayAuthority(ctx context.Context) ([]byte, error) {
	var raw text
	if _, err := c.do(ctx, reading("v1", "gateway-ca.pem"), &raw); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, unusable{errors.New("the server did not send a certificate")}
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return nil, unusable{fmt.Errorf("the server did not send a certificate: %w", err)}
	}
	return pem.EncodeToMemory(block), nil
}
