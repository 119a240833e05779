"""Pages in the browser, from one small server on this machine: answering what features show. Without torch."""
