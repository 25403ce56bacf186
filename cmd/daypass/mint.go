package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/internal/credential"
)

// mintCmd makes an API token without a server: for the first people of a
// catalog.
func mintCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "mint",
		Short: "Make an API token offline, and the digest for the catalog",
		Long: `Make an API token without a server and print it with the SHA-256 that the
catalog lists as token_sha256. Give the token to its principal; it is not kept
anywhere.`,
		Example: "  daypass token mint",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, _ := credential.NewToken(credential.PrincipalToken)
			sum := sha256.Sum256([]byte(secret.Reveal()))
			digest := hex.EncodeToString(sum[:])
			out := cmd.OutOrStdout()
			if format, err := cmd.Flags().GetString("output"); err == nil && format == "json" {
				return json.NewEncoder(out).Encode(map[string]string{"token": secret.Reveal(), "token_sha256": digest})
			}
			_, err := fmt.Fprintf(out, "token         %s\ntoken_sha256  %s\n", secret.Reveal(), digest)
			return err
		},
	}
}
