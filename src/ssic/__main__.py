from ssic.cli import main

main()
