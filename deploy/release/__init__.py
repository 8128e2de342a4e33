"""What `make release` makes: archives, verifiers, a bill of materials and a Debian package. Not part of the wheel."""
