"""A proxy under a mixed load for a long time: no error, and memory and files stay where they are.

make soak                                  # 20 minutes; writes docs/assets/soak.json and soak.svg
SEALWIRE_SOAK_SECONDS=300 make soak
"""
