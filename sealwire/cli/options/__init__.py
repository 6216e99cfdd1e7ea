"""Options that several commands share, by what they are about; `common` has those about nothing special."""
