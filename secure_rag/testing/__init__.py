"""What tests of secure-rag and of its plug-ins reuse. Never imported by the product."""
