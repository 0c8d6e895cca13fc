"""Speed: what a call costs here, beside a bare grpcio echo of the same messages."""
