"""EC2 instance families that EKS Auto Mode starts and this program supports.

The list is that of the EKS user guide, "Auto Mode supported instance reference", without CPU generations before 5,
GPUs of other vendors than NVIDIA (g4ad), and Inferentia and Trainium, which need another device plugin and base image.
"""

from typing import Literal

Architecture = Literal["amd64", "arm64"]

_CPU: dict[Architecture, str] = {
    "amd64": (
        "c5 c5a c5ad c5d c5n c6a c6i c6id c6in c7a c7i c7i-flex c8a c8i c8i-flex c8id "
        "m5 m5a m5ad m5d m5dn m5n m5zn m6a m6i m6id m6idn m6in m7a m7i m7i-flex m8a m8azn m8i m8i-flex m8id "
        "r5 r5a r5ad r5b r5d r5dn r5n r6a r6i r6id r6idn r6in r7a r7i r7iz r8a r8i r8i-flex r8id t3 t3a"
    ),
    "arm64": (
        "c6g c6gd c6gn c7g c7gd c7gn c8g c8gb c8gd c8gn m6g m6gd m7g m7gd m8g m8gb m8gd m8gn "
        "r6g r6gd r7g r7gd r8g r8gb r8gd r8gn t4g"
    ),
}
_GPU: dict[Architecture, str] = {
    "amd64": "g4dn g5 g6 g6e g7e gr6 p3dn p4d p4de p5 p5e p5en p6-b200 p6-b300",
    "arm64": "g5g",
}

CPU = {family: arch for arch, families in _CPU.items() for family in families.split()}
"""Architecture of each family without GPUs."""
GPU = {family: arch for arch, families in _GPU.items() for family in families.split()}
"""Architecture of each family with NVIDIA GPUs."""
