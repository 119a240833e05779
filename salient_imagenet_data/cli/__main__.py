"""python -m salient_imagenet_data.cli"""

from salient_imagenet_data.cli import main

main()
