"""python -m salient_imagenet_data"""

from salient_imagenet_data.cli import main

main()
